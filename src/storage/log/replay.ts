/**
 * Reading what the logs of a store hold behind its tables: whole batches in the order of their numbers, up to the first
 * that is missing or damaged. Changes nothing on disk; recovery.ts goes on writing from where it ends, tools only look.
 * A Replay owns the memtables it makes until somebody takes them.
 */
import type { FileHandle } from '../../base/fs.ts'
import type { Checkpoint } from '../contract.ts'
import { StoreError } from '../errors.ts'
import { checkFileHeader, corrupt, crcSeed, damageOf, logName, parseFileName, type StoreFiles } from './format.ts'
import { firstFrame, frameHeader, readFrame } from './frame.ts'
import type { ManifestState } from './manifest-state.ts'
import { Memtable, maxMemtableBytes } from './memtable.ts'
import { freshRoom } from './rooms.ts'
import { hasCode } from './small-file.ts'

/** Why a log is not used further. `torn`: a write was broken off; `corrupt`: never written so; `gap`: a batch is missing. */
export type StopReason = 'torn' | 'corrupt' | 'gap'

/** Of the files in a directory, the numbers of the logs that are to be read, in order. */
export function logNumbers(names: readonly string[], state: ManifestState): number[] {
  const logs = names.map(parseFileName).filter(({ kind }) => kind === 'log')
  const numbers = logs.map(({ number }) => number).filter((number) => number >= state.oldestLog)
  return numbers.sort((a, b) => a - b)
}

/** A log as it was read. */
export interface ReplayedLog {
  readonly number: number
  /** Of the file. */
  readonly bytes: number
  /** Behind the last frame that counts; 0 when not even the header does. */
  readonly size: number
  /** Frames that count, and their records. */
  readonly frames: number
  readonly records: number
  /** Its batches that count; undefined when it has none. */
  readonly memtable: Memtable | undefined
  /** Why it ends where it does. `skipped`: a batch before it is missing, so it was not looked at. */
  readonly end: 'end' | 'skipped' | StopReason
  /** What is wrong, in words; empty at an orderly end. */
  readonly what: string
}

/** Where logs stop to count, for the first time. */
export interface Stop {
  readonly reason: StopReason
  readonly file: string
  readonly offset: number
  /** Of all logs. */
  readonly droppedBytes: number
}

const words: Readonly<Record<StopReason, string>> = {
  torn: 'a batch is not all there: its write was broken off',
  corrupt: 'a batch is damaged',
  gap: 'the batch there is not the one that comes next',
}

export class Replay {
  /** In the order they were read. */
  readonly logs: ReplayedLog[] = []
  /** Number of the last batch that counts. */
  seq: number
  checkpoint: Checkpoint | undefined
  checkpointMs: number
  readonly #files: StoreFiles
  #stop: Stop | undefined
  /** A batch is missing: nothing behind counts. */
  #isOver = false

  constructor(files: StoreFiles, state: ManifestState) {
    this.#files = files
    this.seq = state.flushedSeq
    this.checkpointMs = state.checkpoint?.wallMs ?? 0
    if (state.checkpoint !== null) {
      const bytes = Buffer.from(state.checkpoint.state, 'base64')
      this.checkpoint = Object.freeze({ position: state.checkpoint.position, state: bytes })
    }
  }

  /** The first bytes that do not count; undefined when all of them do. */
  get stop(): Stop | undefined {
    return this.#stop
  }

  /**
   * Reads the next log. Throws StoreError ERR_STORE_VERSION; ERR_STORE_CORRUPT when it cannot be a log at all; or the
   * system's error.
   */
  read(number: number, handle: FileHandle): void {
    const image = this.#image(handle, logName(number))
    const file = { number, bytes: image.length, size: 0, frames: 0, records: 0, memtable: undefined }
    if (this.#isOver) {
      this.#drop('gap', number, 0, image.length)
      this.logs.push({ ...file, end: 'skipped', what: 'a batch before it is missing' })
      return
    }
    const fault = this.#headerFault(number, image)
    if (fault === undefined) {
      this.#replay(number, image)
      return
    }
    const { reason, what } = fault
    this.#drop(reason, number, 0, image.length)
    this.logs.push({ ...file, end: reason, what })
  }

  /**
   * What is from `offset` on in a log does not count. Logs behind it may: a write that failed, and was never made good,
   * leaves such an end, and the next batch is in the next log. When a batch is missing, its number tells.
   */
  #drop(reason: StopReason, number: number, offset: number, bytes: number): void {
    const before = this.#stop ?? { reason, file: logName(number), offset, droppedBytes: 0 }
    this.#stop = { ...before, droppedBytes: before.droppedBytes + bytes }
  }

  #image(handle: FileHandle, file: string): Buffer {
    const { store } = this.#files
    const size = handle.sizeSync()
    if (size > maxMemtableBytes) {
      throw corrupt(store, file, maxMemtableBytes, `it has ${size} bytes, more than a log ever gets`)
    }
    // A memtable looks at its bytes as words.
    const image = freshRoom(size + (-size & 7)).bytes
    try {
      return image.subarray(0, handle.readSync(image, 0, size, 0))
    } catch (error) {
      if (hasCode(error, 'EISDIR')) throw corrupt(store, file, 0, 'it is a directory', error)
      throw error
    }
  }

  #headerFault(fileNumber: number, image: Buffer): { reason: StopReason; what: string } | undefined {
    if (image.length < firstFrame) return { reason: 'torn', what: 'it ends inside its header' }
    const { store, storeId } = this.#files
    const file = logName(fileNumber)
    try {
      checkFileHeader('log', image.subarray(0, firstFrame), { storeId, fileNumber }, { store, file })
    } catch (error) {
      if (!(error instanceof StoreError) || error.code !== 'ERR_STORE_CORRUPT') throw error
      return { reason: 'corrupt', what: damageOf(error) }
    }
    return undefined
  }

  #replay(number: number, image: Buffer): void {
    const memtable = new Memtable({
      seed: this.#files.hashSeed,
      logNumber: number,
      firstSeq: this.seq + 1,
      header: image.subarray(0, firstFrame),
      image: wordAligned(image),
    })
    const crc = crcSeed(this.#files.storeId, number)
    let at = firstFrame
    let frames = 0
    let records = 0
    let end: ReplayedLog['end']
    for (;;) {
      const frame = readFrame(image, at, image.length, crc)
      if (typeof frame === 'string') {
        end = frame
        break
      }
      if (frame.seq !== this.seq + 1) {
        end = 'gap'
        break
      }
      for (let record = at + frameHeader; record < frame.recordsTo; ) record = memtable.adopt(record)
      this.seq = frame.seq
      memtable.lastSeq = frame.seq
      if (frame.checkpoint !== undefined) {
        this.checkpoint = frame.checkpoint
        this.checkpointMs = frame.wallMs
      }
      memtable.checkpoint = this.checkpoint
      memtable.checkpointMs = this.checkpointMs
      frames += 1
      records += frame.count
      at = frame.to
    }
    memtable.end = at
    memtable.publish()
    if (end !== 'end') this.#drop(end, number, at, image.length - at)
    if (end === 'gap') this.#isOver = true
    const bytes = image.length
    const what = end === 'end' ? '' : words[end]
    this.logs.push({ number, bytes, size: at, frames, records, memtable: frames > 0 ? memtable : undefined, end, what })
  }
}

/** The bytes of a file that was read into a buffer of its own: a memtable looks at them as words. */
function wordAligned(image: Buffer): Buffer {
  return Buffer.from(image.buffer, image.byteOffset, image.length + (-image.length & 7))
}
