/** Checks of arguments that every engine makes alike. */
import { type Checkpoint, maxCheckpointStateBytes, maxKeyBytes, maxValueBytes, spaceCount } from './contract.ts'
import { StoreError } from './errors.ts'

/** Throws StoreError ERR_STORE_SPACE unless `space` is 0 … 15. */
export function checkSpace(store: string, space: number): void {
  if (!(Number.isInteger(space) && space >= 0 && space < spaceCount)) {
    throw new StoreError('ERR_STORE_SPACE', store, `key space ${space} is not one of 0 to ${spaceCount - 1}`)
  }
}

/** Throws StoreError ERR_STORE_KEY unless `bytes[from, to)` is a span within the limit for keys. */
export function checkKey(store: string, bytes: Buffer, from: number, to: number): void {
  if (from >= 0 && from <= to && to <= bytes.length && to - from <= maxKeyBytes) return
  if (to - from > maxKeyBytes) {
    throw new StoreError('ERR_STORE_KEY', store, `a key of ${to - from} bytes is above the limit of ${maxKeyBytes}`)
  }
  throw new StoreError(
    'ERR_STORE_KEY',
    store,
    `key span [${from}, ${to}) is outside its buffer of ${bytes.length} bytes`,
  )
}

/** Throws StoreError ERR_STORE_VALUE unless `bytes[from, to)` is a span within the limit for values. */
export function checkValue(store: string, bytes: Buffer, from: number, to: number): void {
  if (from >= 0 && from <= to && to <= bytes.length && to - from <= maxValueBytes) return
  if (to - from > maxValueBytes) {
    throw new StoreError(
      'ERR_STORE_VALUE',
      store,
      `a value of ${to - from} bytes is above the limit of ${maxValueBytes}`,
    )
  }
  throw new StoreError(
    'ERR_STORE_VALUE',
    store,
    `value span [${from}, ${to}) is outside its buffer of ${bytes.length} bytes`,
  )
}

/** An own copy of a checkpoint. Throws StoreError ERR_STORE_CHECKPOINT. */
export function copyCheckpoint(store: string, checkpoint: Checkpoint): Checkpoint {
  const { position, state } = checkpoint
  if (!Number.isSafeInteger(position) || position < 0) {
    throw new StoreError('ERR_STORE_CHECKPOINT', store, `checkpoint position ${position} is not a whole number ≥ 0`)
  }
  if (state.length > maxCheckpointStateBytes) {
    const text = `checkpoint state of ${state.length} bytes is above the limit of ${maxCheckpointStateBytes}`
    throw new StoreError('ERR_STORE_CHECKPOINT', store, text)
  }
  return Object.freeze({ position, state: Buffer.from(state) })
}
