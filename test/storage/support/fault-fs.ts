/**
 * FaultFs: any file system, with faults. It counts operations, fails chosen ones once or for ever, cuts writes short, and
 * calls hooks before and after each operation, where a test may throw, or take a copy of a SimFs as a kill would leave it.
 * Owns the counts and the faults.
 */
import type { FileHandle, Fs } from '../../../src/base/fs.ts'
import { systemError } from './sim-fs.ts'

export const operations = [
  'open',
  'exists',
  'mkdir',
  'readdir',
  'rename',
  'remove',
  'syncDir',
  'read',
  'write',
  'sync',
  'truncate',
  'size',
  'close',
] as const
export type Operation = (typeof operations)[number]

/** All that can fail on a healthy handle of a sick disk; `exists` cannot, and `close` only does on request. */
export const failing: readonly Operation[] = operations.filter((kind) => kind !== 'exists' && kind !== 'close')
/** What changes something on the disk. */
export const changing: readonly Operation[] = [
  'open',
  'mkdir',
  'rename',
  'remove',
  'syncDir',
  'write',
  'sync',
  'truncate',
]

/** One call. */
export interface FsCall {
  readonly kind: Operation
  /** Of the file or directory; of a rename: what is renamed. */
  readonly path: string
  /** How many calls of any kind there were, this one included. */
  readonly count: number
}

export interface FaultOptions {
  /** Default: `failing`. */
  readonly kinds?: readonly Operation[]
  /** Only calls whose path matches. */
  readonly path?: RegExp
  /** The how-manieth matching call from now on fails, from 1 on. Default 1. */
  readonly at?: number
  /** Every later matching call fails as well. Default false: once. */
  readonly forever?: boolean
  /** The system's code. Default EIO. */
  readonly code?: string
  /** A write writes this part of its bytes (0–1) before it fails. Default 0. */
  readonly written?: number
  /** Called just before the failure: for what the failure does to the disk. */
  readonly onFail?: (call: FsCall) => void
}

/** A fault that was set. */
export class Fault {
  /** Matching calls so far. */
  matches = 0
  /** Calls that failed. */
  failures = 0
  readonly options: FaultOptions

  constructor(options: FaultOptions) {
    this.options = options
  }

  /** Counts a call, and says whether it fails. */
  strikes({ kind, path }: FsCall): boolean {
    const { kinds = failing, at = 1, forever = false } = this.options
    if (!kinds.includes(kind) || this.options.path?.test(path) === false) return false
    this.matches += 1
    if (forever ? this.matches < at : this.matches !== at) return false
    this.failures += 1
    return true
  }
}

export class FaultFs implements Fs {
  /** The file system behind; may be exchanged, handles stay with theirs. */
  inner: Fs
  /** Calls by kind, failed ones included. */
  readonly counts: Record<Operation, number> = noCounts()
  /** Bytes handed to writes. */
  bytesWritten = 0
  /** Before a call is made, and before it fails. What it throws, the caller gets. */
  before: ((call: FsCall) => void) | undefined
  /** After a call succeeded. */
  after: ((call: FsCall) => void) | undefined
  /** Paths of the files that are open, each as often as it is. */
  readonly open: string[] = []
  #total = 0
  #faults: Fault[] = []

  constructor(inner: Fs) {
    this.inner = inner
  }

  /** Calls of any kind so far. */
  get total(): number {
    return this.#total
  }

  /** Sets a fault beside those there are. */
  fail(options: FaultOptions = {}): Fault {
    const fault = new Fault(options)
    this.#faults.push(fault)
    return fault
  }

  /** The disk is healthy again. */
  heal(): void {
    this.#faults = []
  }

  /** Counts from 0 again. */
  resetCounts(): void {
    Object.assign(this.counts, noCounts())
    this.bytesWritten = 0
    this.#total = 0
  }

  /** For the calls here and FaultHandle: `call` unless a fault strikes; `cut` does the part of a write before a failure. */
  run<T>(kind: Operation, path: string, call: () => T, cut?: (part: number) => void): T {
    const made = this.#begin(kind, path)
    const fault = this.#strike(made)
    if (fault !== undefined) throw this.#failure(fault, made, cut)
    const result = call()
    this.after?.(made)
    return result
  }

  /** As `run`. A fault strikes when the call begins, and is told when it ends. */
  async runAsync<T>(kind: Operation, path: string, call: () => Promise<T>, cut?: (part: number) => void): Promise<T> {
    const made = this.#begin(kind, path)
    const fault = this.#strike(made)
    if (fault !== undefined) {
      const failure = this.#failure(fault, made, cut)
      await Promise.resolve()
      throw failure
    }
    const result = await call()
    this.after?.(made)
    return result
  }

  openSync(path: string, mode: 'read' | 'create' | 'createNew'): FileHandle {
    return this.run('open', path, () => {
      const handle = new FaultHandle(this, path, this.inner.openSync(path, mode))
      this.open.push(path)
      return handle
    })
  }

  existsSync(path: string): boolean {
    return this.run('exists', path, () => this.inner.existsSync(path))
  }

  mkdirSync(path: string): void {
    this.run('mkdir', path, () => this.inner.mkdirSync(path))
  }

  readdirSync(path: string): string[] {
    return this.run('readdir', path, () => this.inner.readdirSync(path))
  }

  renameSync(from: string, to: string): void {
    this.run('rename', from, () => this.inner.renameSync(from, to))
  }

  removeSync(path: string): void {
    this.run('remove', path, () => this.inner.removeSync(path))
  }

  remove(path: string): Promise<void> {
    return this.runAsync('remove', path, () => this.inner.remove(path))
  }

  syncDirSync(path: string): void {
    this.run('syncDir', path, () => this.inner.syncDirSync(path))
  }

  #begin(kind: Operation, path: string): FsCall {
    this.counts[kind] += 1
    this.#total += 1
    const call = { kind, path, count: this.#total }
    this.before?.(call)
    return call
  }

  /** The fault that strikes; every fault counts every call. */
  #strike(call: FsCall): Fault | undefined {
    return this.#faults.filter((fault) => fault.strikes(call))[0]
  }

  #failure(fault: Fault, call: FsCall, cut: ((part: number) => void) | undefined): Error {
    const { written = 0, code = 'EIO', onFail } = fault.options
    if (written > 0) cut?.(written)
    onFail?.(call)
    return systemError(code, call.kind, call.path)
  }
}

class FaultHandle implements FileHandle {
  readonly #fs: FaultFs
  readonly #path: string
  readonly #inner: FileHandle

  constructor(fs: FaultFs, path: string, inner: FileHandle) {
    this.#fs = fs
    this.#path = path
    this.#inner = inner
  }

  readSync(target: Buffer, offset: number, length: number, position: number): number {
    return this.#fs.run('read', this.#path, () => this.#inner.readSync(target, offset, length, position))
  }

  read(target: Buffer, offset: number, length: number, position: number): Promise<number> {
    return this.#fs.runAsync('read', this.#path, () => this.#inner.read(target, offset, length, position))
  }

  writeSync(source: Buffer, from: number, to: number, position: number): void {
    this.#fs.bytesWritten += to - from
    const call = (): void => this.#inner.writeSync(source, from, to, position)
    this.#fs.run('write', this.#path, call, this.#cut(source, from, to, position))
  }

  write(source: Buffer, from: number, to: number, position: number): Promise<void> {
    this.#fs.bytesWritten += to - from
    const call = (): Promise<void> => this.#inner.write(source, from, to, position)
    return this.#fs.runAsync('write', this.#path, call, this.#cut(source, from, to, position))
  }

  syncSync(): void {
    this.#fs.run('sync', this.#path, () => this.#inner.syncSync())
  }

  sync(): Promise<void> {
    return this.#fs.runAsync('sync', this.#path, () => this.#inner.sync())
  }

  truncateSync(size: number): void {
    this.#fs.run('truncate', this.#path, () => this.#inner.truncateSync(size))
  }

  sizeSync(): number {
    return this.#fs.run('size', this.#path, () => this.#inner.sizeSync())
  }

  closeSync(): void {
    // The system gives the descriptor back even when close reports an error.
    const { open } = this.#fs
    if (open.includes(this.#path)) open.splice(open.indexOf(this.#path), 1)
    let closed = false
    const close = (): void => {
      closed = true
      this.#inner.closeSync()
    }
    try {
      this.#fs.run('close', this.#path, close)
    } finally {
      if (!closed) this.#inner.closeSync()
    }
  }

  #cut(source: Buffer, from: number, to: number, position: number): (part: number) => void {
    return (part) => this.#inner.writeSync(source, from, from + Math.floor((to - from) * part), position)
  }
}

function noCounts(): Record<Operation, number> {
  return Object.fromEntries(operations.map((kind) => [kind, 0])) as Record<Operation, number>
}
