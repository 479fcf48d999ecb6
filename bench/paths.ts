/** Where the benchmark's own files lie, seen from the compiled code in `.build/bench`. */
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

function findRoot(): string {
  let dir = dirname(fileURLToPath(import.meta.url))
  while (!existsSync(join(dir, 'bench', 'package.json'))) {
    const parent = dirname(dir)
    if (parent === dir) throw new Error('bench/package.json was not found above the compiled benchmark')
    dir = parent
  }
  return dir
}

/** The project. */
export const projectRoot = findRoot()
/** Its folder `bench`, where the peers are installed. */
export const benchRoot = join(projectRoot, 'bench')
