/** Sizes of the files of a store. */
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

/** Bytes that the files under `dir` occupy. */
export function occupied(dir: string): number {
  let bytes = 0
  for (const entry of readdirSync(dir, { withFileTypes: true, recursive: true })) {
    // A file may go while we look.
    const stats = entry.isFile() ? statSync(join(entry.parentPath, entry.name), { throwIfNoEntry: false }) : undefined
    bytes += stats === undefined ? 0 : stats.blocks * 512
  }
  return bytes
}

/** Waits until the files under `dir` have stayed the same for a second, at most a minute; their size then. */
export async function quiet(dir: string, look: () => void = () => {}): Promise<number> {
  let before = occupied(dir)
  let unchanged = 0
  for (let i = 0; i < 600 && unchanged < 10; i++) {
    await sleep(100)
    const now = occupied(dir)
    unchanged = now === before ? unchanged + 1 : 0
    before = now
    look()
  }
  return before
}
