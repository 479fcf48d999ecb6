/** What a processor tells its observer. Nothing depends on being heard. */
import type { MillraceError } from '../base/errors.ts'

/** One event of `onEvent`, told apart by `kind`. */
export type ProcessorEvent =
  /** The instance's partitions changed. */
  | { readonly kind: 'assigned'; readonly partitions: readonly number[] }
  | { readonly kind: 'revoked'; readonly partitions: readonly number[] }
  /** Partitions were taken without warning: their uncommitted work is dropped and done again by their new owner. */
  | { readonly kind: 'lost'; readonly partitions: readonly number[]; readonly error: MillraceError | undefined }
  /** A key lies in another partition than the processor's partitioner would choose. */
  | {
      readonly kind: 'misroutedKey'
      readonly topic: string
      readonly partition: number
      readonly offset: number
      readonly expectedPartition: number
    }
  /** Another instance wrote to this instance's table partition: its keys are written again. */
  | {
      readonly kind: 'foreignChangelogWrite'
      readonly topic: string
      readonly partition: number
      readonly fromOffset: number
      readonly toOffset: number
      readonly keys: number
    }
  /** The member has not been heard by its coordinator for so long that it must not write: it waits. */
  | { readonly kind: 'leaseLapsed' }
  /** A partition's table is up to date: what was read of its topic, and what was here before. */
  | {
      readonly kind: 'restored'
      readonly topic: string
      readonly partition: number
      /** Records read. */
      readonly records: number
      readonly durationMs: number
      /** The offset reading began at: with a table on disk, where it had got to. */
      readonly fromOffset: number
      /** The offset behind the last one read. */
      readonly toOffset: number
      /** Entries that were there and stayed, about; 0 when the table was built from nothing. */
      readonly localEntries: number
      /** Why the table that was there could not be brought up to date and was built anew; undefined: it was not. */
      readonly rebuilt: string | undefined
    }
