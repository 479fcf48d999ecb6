/**
 * Opening batches: checksums, and what read_committed hides (the algorithm of Kafka's Java client). The broker sends,
 * with the batches, the transactions that were aborted and overlap them; it never sends anything behind the last stable
 * offset, so every transaction in sight has ended. Stateless: an answer is complete in itself.
 */
import type { BatchView } from '../../protocol/record-view.ts'

/** An aborted transaction: the records of `producerId` from `firstOffset` up to its abort marker do not exist. */
export interface AbortedTransaction {
  readonly producerId: number
  readonly firstOffset: number
}

export interface Opened {
  /** Batches whose records users may see: no control batches, none of an aborted transaction. */
  readonly visible: BatchView[]
  /** Index of the first unreadable batch, or how many there are. */
  readonly readable: number
  readonly cause: unknown
}

/** `aborted` undefined: show the records of aborted transactions, too. */
export function openBatches(
  batches: readonly BatchView[],
  aborted: readonly AbortedTransaction[] | undefined,
  checkCrc: boolean,
): Opened {
  const pending = aborted === undefined ? [] : [...aborted].sort((a, b) => a.firstOffset - b.firstOffset)
  const open = new Set<number>()
  const visible: BatchView[] = []
  let at = 0
  let index = 0
  try {
    for (; index < batches.length; index++) {
      const batch = batches[index]!
      if (checkCrc) batch.checkCrc()
      while (at < pending.length && pending[at]!.firstOffset <= batch.lastOffset) open.add(pending[at++]!.producerId)
      if (batch.isControl) {
        if (open.size > 0 && batch.controlType() === 'abort') open.delete(batch.producerId)
      } else if (open.size === 0 || !batch.isTransactional || !open.has(batch.producerId)) {
        visible.push(batch)
      }
    }
    return { visible, readable: index, cause: undefined }
  } catch (cause) {
    return { visible, readable: index, cause }
  }
}
