/** Checks of arguments that every engine makes alike. */
import { type Checkpoint, maxCheckpointStateBytes, maxKeyBytes, maxValueBytes, spaceCount } from './contract.ts'
import { StoreError } from './errors.ts'

/** Throws StoreError ERR_STORE_SPACE unless `space` is 0 … 15. */
export function checkSpace(store: string, space: number): void {
  if (!(Number.isInteger(space) && space >= 0 && space < spaceCount)) {
    throw new StoreError('ERR_STORE_SPACE', store, `key space ${space} is not one of 0 to ${spaceCount - 1}`)
  }
}

/**
 * Whether `bytes[from, to)` is a span, also when a caller without types gave it: text would be written as zeros. One far
 * inside a buffer of more than 4 GiB is not.
 */
function isSpan(bytes: Buffer | undefined, from: number, to: number): boolean {
  return from >>> 0 === from && to >>> 0 === to && from <= to && typeof bytes?.copy === 'function' && to <= bytes.length
}

/** What `value` is, for a message: `a string`, `a Uint8Array`, `undefined`. */
export function kindOf(value: unknown): string {
  if (value === undefined || value === null) return String(value)
  const kind = typeof value === 'object' ? (Object.getPrototypeOf(value)?.constructor?.name ?? 'object') : typeof value
  return `a ${String(kind)}`
}

/** Why a span is none. */
function spanFault(what: string, bytes: unknown, from: number, to: number): string {
  if (!Buffer.isBuffer(bytes)) return `the ${what} is ${kindOf(bytes)}: it must be a Buffer`
  return `${what} span [${from}, ${to}) is outside its buffer of ${bytes.length} bytes, or not of whole numbers`
}

/** Throws StoreError ERR_STORE_KEY unless `bytes[from, to)` is a span within the limit for keys. */
export function checkKey(store: string, bytes: Buffer, from: number, to: number): void {
  if (isSpan(bytes, from, to) && to - from <= maxKeyBytes) return
  if (to - from > maxKeyBytes) {
    throw new StoreError('ERR_STORE_KEY', store, `a key of ${to - from} bytes is above the limit of ${maxKeyBytes}`)
  }
  throw new StoreError('ERR_STORE_KEY', store, spanFault('key', bytes, from, to))
}

/** Throws StoreError ERR_STORE_VALUE unless `bytes[from, to)` is a span within the limit for values. */
export function checkValue(store: string, bytes: Buffer, from: number, to: number): void {
  if (isSpan(bytes, from, to) && to - from <= maxValueBytes) return
  if (to - from > maxValueBytes) {
    throw new StoreError(
      'ERR_STORE_VALUE',
      store,
      `a value of ${to - from} bytes is above the limit of ${maxValueBytes}`,
    )
  }
  throw new StoreError('ERR_STORE_VALUE', store, spanFault('value', bytes, from, to))
}

/** An own copy of a checkpoint. Throws StoreError ERR_STORE_CHECKPOINT. */
export function copyCheckpoint(store: string, checkpoint: Checkpoint | null): Checkpoint {
  if (checkpoint === null) {
    throw new StoreError('ERR_STORE_CHECKPOINT', store, 'the checkpoint is null: it must have a position and a state')
  }
  const { position, state } = checkpoint
  if (!Number.isSafeInteger(position) || position < 0) {
    throw new StoreError('ERR_STORE_CHECKPOINT', store, `checkpoint position ${position} is not a whole number ≥ 0`)
  }
  if (!Buffer.isBuffer(state)) {
    const text = `the checkpoint's state is ${kindOf(state)}: it must be a Buffer`
    throw new StoreError('ERR_STORE_CHECKPOINT', store, text)
  }
  if (state.length > maxCheckpointStateBytes) {
    const text = `checkpoint state of ${state.length} bytes is above the limit of ${maxCheckpointStateBytes}`
    throw new StoreError('ERR_STORE_CHECKPOINT', store, text)
  }
  return Object.freeze({ position, state: Buffer.from(state) })
}
