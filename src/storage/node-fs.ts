/** The real file system behind base/fs.ts: Node's `fs`, and the only file of src/ that imports it for data. */
import * as fs from 'node:fs'
import type { FileHandle, Fs } from '../base/fs.ts'

/** An open file descriptor. Owns `#fd` until closeSync. */
class NodeFile implements FileHandle {
  readonly #fd: number

  constructor(fd: number) {
    this.#fd = fd
  }

  readSync(target: Buffer, offset: number, length: number, position: number): number {
    let done = 0
    while (done < length) {
      const n = fs.readSync(this.#fd, target, offset + done, length - done, position + done)
      if (n === 0) break
      done += n
    }
    return done
  }

  async read(target: Buffer, offset: number, length: number, position: number): Promise<number> {
    let done = 0
    while (done < length) {
      const n = await new Promise<number>((resolve, reject) => {
        fs.read(this.#fd, target, offset + done, length - done, position + done, (error, bytesRead) => {
          if (error === null) resolve(bytesRead)
          else reject(error)
        })
      })
      if (n === 0) break
      done += n
    }
    return done
  }

  writeSync(source: Buffer, from: number, to: number, position: number): void {
    let at = from
    while (at < to) at += fs.writeSync(this.#fd, source, at, to - at, position + at - from)
  }

  async write(source: Buffer, from: number, to: number, position: number): Promise<void> {
    let at = from
    while (at < to) {
      at += await new Promise<number>((resolve, reject) => {
        fs.write(this.#fd, source, at, to - at, position + at - from, (error, written) => {
          if (error === null) resolve(written)
          else reject(error)
        })
      })
    }
  }

  syncSync(): void {
    fs.fdatasyncSync(this.#fd)
  }

  sync(): Promise<void> {
    return new Promise((resolve, reject) => {
      fs.fdatasync(this.#fd, (error) => {
        if (error === null || error === undefined) resolve()
        else reject(error)
      })
    })
  }

  truncateSync(size: number): void {
    fs.ftruncateSync(this.#fd, size)
  }

  sizeSync(): number {
    return fs.fstatSync(this.#fd).size
  }

  closeSync(): void {
    fs.closeSync(this.#fd)
  }
}

const { O_CREAT, O_EXCL, O_RDONLY, O_RDWR } = fs.constants

class NodeFs implements Fs {
  openSync(path: string, mode: 'read' | 'create' | 'createNew'): FileHandle {
    const flags = mode === 'read' ? O_RDONLY : mode === 'create' ? O_RDWR | O_CREAT : O_RDWR | O_CREAT | O_EXCL
    return new NodeFile(fs.openSync(path, flags, 0o644))
  }

  existsSync(path: string): boolean {
    return fs.existsSync(path)
  }

  mkdirSync(path: string): void {
    fs.mkdirSync(path, { recursive: true })
  }

  readdirSync(path: string): string[] {
    return fs.readdirSync(path).sort()
  }

  renameSync(from: string, to: string): void {
    fs.renameSync(from, to)
  }

  removeSync(path: string): void {
    fs.rmSync(path, { recursive: true })
  }

  remove(path: string): Promise<void> {
    return new Promise((resolve, reject) => {
      fs.unlink(path, (error) => (error === null ? resolve() : reject(error)))
    })
  }

  syncDirSync(path: string): void {
    // Windows cannot open a directory for syncing, and makes renames durable itself.
    if (process.platform === 'win32') return
    const fd = fs.openSync(path, O_RDONLY)
    try {
      fs.fsyncSync(fd)
    } finally {
      fs.closeSync(fd)
    }
  }
}

/** The machine's file system. */
export function nodeFs(): Fs {
  return new NodeFs()
}

/** Whether it is the machine's: then another thread sees the same files. */
export function isNodeFs(fs: Fs): boolean {
  return fs instanceof NodeFs
}
