/**
 * SimFs: a file system in memory that knows what was synced. `crash` gives the file system as a power loss may leave it,
 * `kill` as the death of the process leaves it; both leave this one as it is, so that many ends of one moment can be
 * tried. It has what /proc says of the boot and of this process, so that a lock that the dead left is known for that.
 * Owns the files; each SimFs is a machine of its own.
 */
import type { FileHandle, Fs } from '../../../src/base/fs.ts'
import type { SeededRandom } from '../../sim/random.ts'
import { type CrashStyle, change, cloneTree, crashTree, SimDirectory, SimFile, type SimNode } from './sim-file.ts'

/** An error as the system throws it. */
export function systemError(code: string, call: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${call} '${path}'`), { code, syscall: call, path })
}

export interface SimFsOptions {
  /** Runs the end of each asynchronous call: a virtual clock's `immediate`, say. Default: queueMicrotask. */
  readonly defer?: (run: () => void) => void
}

export class SimFs implements Fs {
  /** Bytes that all files together may have; a write above it writes what fits and throws ENOSPC. */
  capacity = Infinity
  /** Paths of the files that are open, each as often as it is. */
  readonly open: string[] = []
  readonly #options: SimFsOptions
  #root = new SimDirectory()
  /** Boots of the machine, and starts of the process. */
  #boots = 1
  #starts = 1

  constructor(options: SimFsOptions = {}) {
    this.#options = options
  }

  /**
   * After a power loss: what was synced is there; of the rest an arbitrary legal part: writes kept, lost, or torn at
   * bytes or sectors, files of the right length with zeros in them, names made, moved and removed or not.
   */
  crash(random: SeededRandom, style: CrashStyle = randomStyle(random)): SimFs {
    const after = this.#with(crashTree(this.#root, random, style))
    after.#boots += 1
    return after
  }

  /** After the death of the process: everything written is there, and what was not synced may still be lost later. */
  kill(): SimFs {
    const after = this.#with(cloneTree(this.#root))
    after.#starts += 1
    return after
  }

  /** As after a failed sync of `path`: what was written is seen, but no later sync makes it durable. */
  loseUnsynced(path: string): void {
    this.#file('fsync', path).loseUnsynced()
  }

  /** Whether `path` has changes that a power loss may take away: its content, or for a directory its entries. */
  isDurable(path: string): boolean {
    const node = this.#node('stat', path)
    return node instanceof SimFile ? node.unsynced === 0 : node.changes.length === 0
  }

  /** A copy of what is in a file. */
  contentOf(path: string): Buffer {
    return Buffer.from(this.#file('read', path).content())
  }

  /**
   * Replaces what is in a file, as damage does: open handles see it, and no power loss takes it away. Makes the file when
   * there is none; its directory exists.
   */
  tamper(path: string, content: Buffer): void {
    const { dir, name, node } = this.#place('open', path)
    if (node instanceof SimFile) {
      node.replace(content)
      return
    }
    const file = new SimFile(content)
    dir.entries.set(name, file)
    dir.durable.set(name, file)
  }

  openSync(path: string, mode: 'read' | 'create' | 'createNew'): FileHandle {
    const told = this.#proc(path)
    if (told !== undefined && mode === 'read') return this.#handle(path, told, false)
    const { dir, name, node } = this.#place('open', path)
    if (node === undefined && mode === 'read') throw systemError('ENOENT', 'open', path)
    if (node !== undefined && mode === 'createNew') throw systemError('EEXIST', 'open', path)
    if (node instanceof SimDirectory && mode === 'create') throw systemError('EISDIR', 'open', path)
    const file = node ?? new SimFile()
    if (node === undefined) change([{ dir, name, node: file, add: true }])
    return this.#handle(path, file, mode !== 'read')
  }

  #handle(path: string, node: SimNode, writable: boolean): FileHandle {
    this.open.push(path)
    return new SimHandle(this, path, node, writable, this.#options.defer ?? queueMicrotask)
  }

  /** What the kernel tells under these names. */
  #proc(path: string): SimFile | undefined {
    if (path === '/proc/sys/kernel/random/boot_id') return new SimFile(Buffer.from(`boot-${this.#boots}\n`))
    if (path !== `/proc/${process.pid}/stat`) return undefined
    return new SimFile(Buffer.from(`${process.pid} (node) S ${'0 '.repeat(18)}${this.#starts} 0\n`))
  }

  existsSync(path: string): boolean {
    try {
      this.#node('stat', path)
      return true
    } catch {
      return false
    }
  }

  mkdirSync(path: string): void {
    const names = parts(path)
    let dir = this.#root
    names.forEach((name, i) => {
      const next = dir.entries.get(name) ?? new SimDirectory()
      if (next instanceof SimFile) throw systemError(i === names.length - 1 ? 'EEXIST' : 'ENOTDIR', 'mkdir', path)
      if (!dir.entries.has(name)) change([{ dir, name, node: next, add: true }])
      dir = next
    })
  }

  readdirSync(path: string): string[] {
    const node = this.#node('scandir', path)
    if (node instanceof SimFile) throw systemError('ENOTDIR', 'scandir', path)
    return [...node.entries.keys()].sort()
  }

  renameSync(from: string, to: string): void {
    const source = this.#place('rename', from)
    const target = this.#place('rename', to)
    const { node } = source
    if (node === undefined) throw systemError('ENOENT', 'rename', from)
    if (node === target.node) return
    if (node instanceof SimFile && target.node instanceof SimDirectory) throw systemError('EISDIR', 'rename', to)
    if (node instanceof SimDirectory) {
      if (target.node instanceof SimFile) throw systemError('ENOTDIR', 'rename', to)
      if (target.node !== undefined && target.node.entries.size > 0) throw systemError('ENOTEMPTY', 'rename', to)
    }
    change([
      { dir: target.dir, name: target.name, node, add: true },
      { dir: source.dir, name: source.name, node, add: false },
    ])
  }

  removeSync(path: string): void {
    const { dir, name, node } = this.#place('rm', path)
    if (node === undefined) throw systemError('ENOENT', 'rm', path)
    if (node instanceof SimDirectory) for (const entry of [...node.entries.keys()]) this.removeSync(`${path}/${entry}`)
    change([{ dir, name, node, add: false }])
  }

  async remove(path: string): Promise<void> {
    this.removeSync(path)
  }

  syncDirSync(path: string): void {
    const node = this.#node('fsync', path)
    if (node instanceof SimFile) throw systemError('ENOTDIR', 'fsync', path)
    node.sync()
  }

  /** Bytes of all files together. */
  get usedBytes(): number {
    let used = 0
    const count = (node: SimNode): void => {
      if (node instanceof SimFile) used += node.size
      else for (const entry of node.entries.values()) count(entry)
    }
    count(this.#root)
    return used
  }

  /** Bytes that may still be written. For SimHandle. */
  free(): number {
    return this.capacity === Infinity ? Infinity : this.capacity - this.usedBytes
  }

  #with(root: SimDirectory): SimFs {
    const next = new SimFs(this.#options)
    next.#root = root
    next.#boots = this.#boots
    next.#starts = this.#starts
    next.capacity = this.capacity
    return next
  }

  /** The directory that has, or would have, the last part of a path. */
  #place(call: string, path: string): { dir: SimDirectory; name: string; node: SimNode | undefined } {
    const names = parts(path)
    const name = names.pop()
    if (name === undefined) throw systemError('EINVAL', call, path)
    let dir = this.#root
    for (const part of names) {
      const next = dir.entries.get(part)
      if (next === undefined) throw systemError('ENOENT', call, path)
      if (next instanceof SimFile) throw systemError('ENOTDIR', call, path)
      dir = next
    }
    return { dir, name, node: dir.entries.get(name) }
  }

  #node(call: string, path: string): SimNode {
    if (parts(path).length === 0) return this.#root
    const { node } = this.#place(call, path)
    if (node === undefined) throw systemError('ENOENT', call, path)
    return node
  }

  #file(call: string, path: string): SimFile {
    const node = this.#node(call, path)
    if (!(node instanceof SimFile)) throw systemError('EISDIR', call, path)
    return node
  }
}

/** An open file; lives on when its name is removed. */
class SimHandle implements FileHandle {
  readonly #fs: SimFs
  readonly #path: string
  readonly #node: SimNode
  readonly #writable: boolean
  readonly #defer: (run: () => void) => void
  #closed = false

  constructor(fs: SimFs, path: string, node: SimNode, writable: boolean, defer: (run: () => void) => void) {
    this.#fs = fs
    this.#path = path
    this.#node = node
    this.#writable = writable
    this.#defer = defer
  }

  readSync(target: Buffer, offset: number, length: number, position: number): number {
    if (offset < 0 || length < 0 || offset + length > target.length) throw new RangeError('read outside the target')
    const content = this.#file('read').content()
    if (position >= content.length) return 0
    return content.copy(target, offset, position, Math.min(position + length, content.length))
  }

  read(target: Buffer, offset: number, length: number, position: number): Promise<number> {
    return this.#later(() => this.readSync(target, offset, length, position))
  }

  writeSync(source: Buffer, from: number, to: number, position: number): void {
    if (from < 0 || from > to || to > source.length) throw new RangeError('write from outside the source')
    if (from === to) return
    const file = this.#file('write')
    if (!this.#writable) throw systemError('EBADF', 'write', this.#path)
    const grows = position + to - from - file.size
    const missing = grows > 0 ? grows - Math.max(0, this.#fs.free()) : 0
    const fits = missing > 0 ? Math.max(from, to - missing) : to
    if (fits > from) file.write(source, from, fits, position)
    if (missing > 0) throw systemError('ENOSPC', 'write', this.#path)
  }

  write(source: Buffer, from: number, to: number, position: number): Promise<void> {
    return this.#later(() => this.writeSync(source, from, to, position))
  }

  syncSync(): void {
    this.#file('fdatasync').beginSync()()
  }

  sync(): Promise<void> {
    if (this.#closed) return Promise.reject(systemError('EBADF', 'fdatasync', this.#path))
    const end = this.#file('fdatasync').beginSync()
    return this.#later(end)
  }

  truncateSync(size: number): void {
    const file = this.#file('ftruncate')
    if (!this.#writable) throw systemError('EINVAL', 'ftruncate', this.#path)
    file.truncate(size)
  }

  sizeSync(): number {
    return this.#node instanceof SimFile ? this.#file('fstat').size : 4096
  }

  closeSync(): void {
    if (this.#closed) throw systemError('EBADF', 'close', this.#path)
    this.#closed = true
    this.#fs.open.splice(this.#fs.open.indexOf(this.#path), 1)
  }

  #file(call: string): SimFile {
    if (this.#closed) throw systemError('EBADF', call, this.#path)
    if (this.#node instanceof SimDirectory) throw systemError('EISDIR', call, this.#path)
    return this.#node
  }

  #later<T>(run: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#defer(() => {
        try {
          resolve(run())
        } catch (error) {
          reject(error)
        }
      })
    })
  }
}

/** Ends of a moment differ: everything is kept or lost, a first part is, or each change decides for itself. */
function randomStyle(random: SeededRandom): CrashStyle {
  const keep = random.pick([0, 1, 0.1, 0.5, 0.5, 0.9])
  return { keep, inOrder: random.chance(0.3), torn: random.pick([0, 0.2, 0.5]) }
}

/** The names in a path; `.` and empty ones count for nothing, `..` is not known here. */
function parts(path: string): string[] {
  return path.split('/').filter((part) => part !== '' && part !== '.')
}
