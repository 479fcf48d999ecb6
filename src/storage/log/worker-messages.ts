/**
 * What the main thread and the worker thread of an engine say to each other. Plain data: a message is copied; the bytes
 * of a memtable, which nobody writes any more, are shared. Each task has a number; the worker says something last about each, and then never again.
 */
import type { MessagePort } from 'node:worker_threads'
import { StoreError, type StoreErrorCode } from '../errors.ts'
import type { StoreFiles } from './format.ts'
import type { LevelLimits } from './levels.ts'
import type { MergeResult, MergeStep } from './merge.ts'
import type { TableMeta } from './table-layout.ts'

/** What a worker is started with. */
export interface WorkerStart {
  /** Also in the worker's file, in these words: its main side looks for them there, the worker for them here. */
  readonly mark: 'millrace storage worker'
  readonly port: MessagePort
  /** One word: counts the messages of the worker, so that the main thread can wait for one without turning. */
  readonly signal: Int32Array
}

/** StoreFiles without what every thread has itself. */
export interface FilesMessage {
  readonly dir: string
  readonly store: string
  readonly storeId: Uint8Array
  readonly hashSeed: number
}

interface TaskMessage {
  readonly task: number
  readonly files: FilesMessage
  /** Numbers for the files it makes. */
  readonly numbers: readonly number[]
}

/** Write a memtable into tables. */
export interface FlushMessage extends TaskMessage {
  readonly kind: 'flush'
  /** Its bytes, shared. */
  readonly bytes: Uint8Array
  /** References to the newest record of each key; the worker owns them. */
  readonly refs: Int32Array
  readonly dropDeleted: boolean
}

/** Merge tables, by file number. */
export interface MergeMessage extends TaskMessage {
  readonly kind: 'merge'
  readonly plan:
    | { readonly kind: 'upper'; readonly runs: readonly (readonly number[])[]; readonly dropDeleted: boolean }
    | { readonly kind: 'last'; readonly runs: readonly (readonly number[])[]; readonly last: readonly number[] }
  /** Of the tables, as files. */
  readonly inputBytes: number
  readonly limits: LevelLimits
}

/** The step of a merge is installed: go on. */
export interface AppliedMessage {
  readonly kind: 'applied'
  readonly task: number
}

/** Break it off, and remove what was not handed over. */
export interface CancelMessage {
  readonly kind: 'cancel'
  readonly task: number
}

export type ToWorker = FlushMessage | MergeMessage | AppliedMessage | CancelMessage | { readonly kind: 'end' }

interface BoundMessage {
  readonly space: number
  readonly key: Uint8Array
}

export interface TableMessage extends Omit<TableMeta, 'min' | 'max'> {
  readonly min: BoundMessage
  readonly max: BoundMessage
}

export interface StepMessage extends Omit<MergeStep, 'add'> {
  readonly add: readonly TableMessage[]
}

export interface ErrorMessage {
  readonly name: string
  readonly message: string
  readonly code: string | undefined
  /** Of a StoreError. */
  readonly at: { readonly store: string; readonly file?: string; readonly offset?: number } | undefined
  readonly cause: ErrorMessage | undefined
}

/** Tables in `step` and `flushed` belong to the main thread from then on. All but `step` are the last of their task. */
export type FromWorker =
  | { readonly kind: 'step'; readonly task: number; readonly step: StepMessage }
  | { readonly kind: 'flushed'; readonly task: number; readonly tables: readonly TableMessage[] }
  | { readonly kind: 'merged'; readonly task: number; readonly result: MergeResult }
  | { readonly kind: 'cancelled'; readonly task: number }
  | { readonly kind: 'failed'; readonly task: number; readonly error: ErrorMessage }

export function filesMessage({ dir, store, storeId, hashSeed }: StoreFiles): FilesMessage {
  return { dir, store, storeId: Uint8Array.from(storeId), hashSeed }
}

/** Keys get bytes of their own: of a view all that it is a view of would be copied. */
export function tableMessage(meta: TableMeta): TableMessage {
  const { min, max } = meta
  return {
    ...meta,
    min: { space: min.space, key: Uint8Array.from(min.key) },
    max: { space: max.space, key: Uint8Array.from(max.key) },
  }
}

export function tableOf(message: TableMessage): TableMeta {
  const { min, max } = message
  return {
    ...message,
    min: { space: min.space, key: bufferOf(min.key) },
    max: { space: max.space, key: bufferOf(max.key) },
  }
}

/** The same bytes as a Buffer. */
export function bufferOf({ buffer, byteOffset, length }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, length)
}

export function errorMessage(error: unknown): ErrorMessage {
  if (!(error instanceof Error)) {
    return { name: 'Error', message: String(error), code: undefined, at: undefined, cause: undefined }
  }
  const { code } = error as { readonly code?: unknown }
  const cause = error.cause === undefined ? undefined : errorMessage(error.cause)
  const common = { name: error.name, message: error.message, code: typeof code === 'string' ? code : undefined, cause }
  if (!(error instanceof StoreError)) return { ...common, at: undefined }
  const { store, file, offset } = error
  const where = file === undefined ? {} : { file }
  return { ...common, at: { store, ...where, ...(offset === undefined ? {} : { offset }) } }
}

/** The error as it was, but for its stack. */
export function errorOf({ name, message, code, at, cause }: ErrorMessage): Error {
  const before = cause === undefined ? undefined : errorOf(cause)
  if (at !== undefined) {
    const text = message.startsWith(`store ${at.store}: `) ? message.slice(`store ${at.store}: `.length) : message
    return new StoreError(code as StoreErrorCode, at.store, text, before, at)
  }
  const error = new Error(message, before === undefined ? {} : { cause: before })
  error.name = name
  return code === undefined ? error : Object.assign(error, { code })
}
