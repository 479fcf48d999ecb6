/**
 * The inside of SimFs: files and directories that know which of their changes are durable. A node has what is seen now,
 * what the last sync made durable, and the changes in between, each of which a power loss may keep or lose.
 */
import type { SeededRandom } from '../../sim/random.ts'

/** Bytes that grow in place. */
class Bytes {
  #bytes: Buffer
  size: number

  constructor(content: Buffer) {
    this.#bytes = Buffer.from(content)
    this.size = content.length
  }

  /** A view, valid until the next change. */
  view(): Buffer {
    return this.#bytes.subarray(0, this.size)
  }

  write(source: Buffer, at: number): void {
    const end = at + source.length
    if (end > this.size) this.resize(end)
    source.copy(this.#bytes, at)
  }

  resize(size: number): void {
    if (size > this.#bytes.length) {
      const larger = Buffer.alloc(Math.max(size, 2 * this.#bytes.length, 64))
      this.view().copy(larger)
      this.#bytes = larger
    }
    // What is behind the end reads as zeros when the file grows again.
    if (size < this.size) this.#bytes.fill(0, size, this.size)
    this.size = size
  }
}

/** A change of a file since it was synced. `lost`: a sync failed, so it will never reach the disk. */
type FileChange = { lost: boolean } & ({ readonly bytes: Buffer; readonly at: number } | { readonly size: number })

/** How much of what was not synced a power loss keeps. */
export interface CrashStyle {
  /** Probability that a change is kept. */
  readonly keep: number
  /** Keeps a first part of the changes of each node, loses the rest: `keep` says how large. */
  readonly inOrder: boolean
  /** Probability that a kept write is only partly there. */
  readonly torn: number
}

export class SimFile {
  #now: Bytes
  #durable: Bytes
  #changes: FileChange[] = []

  constructor(content: Buffer = Buffer.alloc(0)) {
    this.#now = new Bytes(content)
    this.#durable = new Bytes(content)
  }

  get size(): number {
    return this.#now.size
  }

  /** Changes that a power loss may take away. */
  get unsynced(): number {
    return this.#changes.length
  }

  /** A view, valid until the next change. */
  content(): Buffer {
    return this.#now.view()
  }

  write(source: Buffer, from: number, to: number, at: number): void {
    const bytes = Buffer.from(source.subarray(from, to))
    this.#now.write(bytes, at)
    this.#changes.push({ lost: false, bytes, at })
  }

  truncate(size: number): void {
    this.#now.resize(size)
    this.#changes.push({ lost: false, size })
  }

  /** Sets the content, durably. */
  replace(content: Buffer): void {
    this.#now = new Bytes(content)
    this.#durable = new Bytes(content)
    this.#changes = []
  }

  /** The beginning of a sync; what it returns ends it. Changes made in between are not covered. */
  beginSync(): () => void {
    const covered = [...this.#changes]
    return () => {
      const done = new Set(covered)
      for (const change of this.#changes) if (done.has(change) && !change.lost) apply(this.#durable, change)
      this.#changes = this.#changes.filter((change) => change.lost || !done.has(change))
    }
  }

  /** As after a failed sync: the changes so far are seen, but no later sync makes them durable. */
  loseUnsynced(): void {
    for (const change of this.#changes) change.lost = true
  }

  clone(): SimFile {
    const copy = new SimFile(this.#durable.view())
    copy.#now = new Bytes(this.#now.view())
    copy.#changes = this.#changes.map((change) => ({ ...change }))
    return copy
  }

  /** The file after a power loss. */
  crash(random: SeededRandom, style: CrashStyle): SimFile {
    const bytes = new Bytes(this.#durable.view())
    for (const change of chosen(this.#changes, random, style)) {
      if (change.lost) continue
      if ('bytes' in change && random.chance(style.torn)) tear(bytes, change.bytes, change.at, random)
      else apply(bytes, change)
    }
    return new SimFile(bytes.view())
  }
}

function apply(target: Bytes, change: FileChange): void {
  if ('bytes' in change) target.write(change.bytes, change.at)
  else target.resize(change.size)
}

const sector = 512

/** Writes a part of `bytes`: a first part, some of its sectors, or only its length. */
function tear(target: Bytes, bytes: Buffer, at: number, random: SeededRandom): void {
  const way = random.int(4)
  if (way === 0) {
    target.write(bytes.subarray(0, random.int(bytes.length + 1)), at)
  } else if (way === 1) {
    const sectors = Math.ceil((at + bytes.length) / sector) - Math.floor(at / sector)
    const end = (Math.floor(at / sector) + random.int(sectors + 1)) * sector - at
    target.write(bytes.subarray(0, Math.max(0, Math.min(end, bytes.length))), at)
  } else {
    if (at + bytes.length > target.size) target.resize(at + bytes.length)
    if (way === 3) return
    for (let from = 0; from < bytes.length; ) {
      const to = Math.min(bytes.length, (Math.floor((at + from) / sector) + 1) * sector - at)
      if (random.chance(0.5)) target.write(bytes.subarray(from, to), at + from)
      from = to
    }
  }
}

/** A change of directories; one of two directories is kept or lost in both. */
export type DirectoryChange = {
  readonly moves: readonly { dir: SimDirectory; name: string; node: SimNode; add: boolean }[]
}

export type SimNode = SimFile | SimDirectory

export class SimDirectory {
  readonly entries = new Map<string, SimNode>()
  readonly durable = new Map<string, SimNode>()
  changes: DirectoryChange[] = []

  /** All changes of its entries so far are durable. */
  sync(): void {
    for (const change of this.changes) applyMoves(change, (dir) => (dir === this ? this.durable : undefined))
    this.changes = []
  }
}

/** Makes one change that is seen at once, and durable when its directories are synced. */
export function change(moves: DirectoryChange['moves']): void {
  const made: DirectoryChange = { moves }
  applyMoves(made, (dir) => dir.entries)
  for (const dir of new Set(moves.map((move) => move.dir))) dir.changes.push(made)
}

function applyMoves(made: DirectoryChange, entriesOf: (dir: SimDirectory) => Map<string, SimNode> | undefined): void {
  for (const { dir, name, node, add } of made.moves) {
    const entries = entriesOf(dir)
    if (entries === undefined) continue
    if (add) entries.set(name, node)
    else if (entries.get(name) === node) entries.delete(name)
  }
}

/** A copy of a tree with everything that is known of it. */
export function cloneTree(root: SimDirectory): SimDirectory {
  const copies = new Map<SimNode, SimNode>()
  const file = (node: SimNode): SimNode => {
    const known = copies.get(node)
    if (known !== undefined) return known
    if (node instanceof SimFile) {
      const copy = node.clone()
      copies.set(node, copy)
      return copy
    }
    return directory(node)
  }
  const directory = (node: SimDirectory): SimDirectory => {
    const known = copies.get(node)
    if (known instanceof SimDirectory) return known
    const copy = new SimDirectory()
    copies.set(node, copy)
    for (const [name, entry] of node.entries) copy.entries.set(name, file(entry))
    for (const [name, entry] of node.durable) copy.durable.set(name, file(entry))
    copy.changes = node.changes.map((made) => ({
      moves: made.moves.map((move) => ({ ...move, dir: directory(move.dir), node: file(move.node) })),
    }))
    return copy
  }
  return directory(root)
}

/** The tree after a power loss: what is durable, and what `style` keeps of the rest. */
export function crashTree(root: SimDirectory, random: SeededRandom, style: CrashStyle): SimDirectory {
  const kept = new Map<DirectoryChange, boolean>()
  const files = new Map<SimFile, SimFile>()
  const after = (node: SimDirectory): SimDirectory => {
    const entries = new Map(node.durable)
    const lucky = new Set(chosen(node.changes, random, style))
    for (const made of node.changes) {
      if (!kept.has(made)) kept.set(made, lucky.has(made))
      if (kept.get(made) === true) applyMoves(made, (dir) => (dir === node ? entries : undefined))
    }
    const copy = new SimDirectory()
    for (const [name, entry] of entries) {
      let fate: SimNode
      if (entry instanceof SimFile) {
        fate = files.get(entry) ?? entry.crash(random, style)
        files.set(entry, fate)
      } else fate = after(entry)
      copy.entries.set(name, fate)
      copy.durable.set(name, fate)
    }
    return copy
  }
  return after(root)
}

/** What a power loss keeps of changes, in their order. */
function chosen<T>(changes: readonly T[], random: SeededRandom, style: CrashStyle): T[] {
  if (!style.inOrder) return changes.filter(() => random.chance(style.keep))
  if (style.keep === 1) return [...changes]
  return style.keep === 0 ? [] : changes.slice(0, random.int(changes.length + 1))
}
