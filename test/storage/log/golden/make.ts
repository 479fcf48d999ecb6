/**
 * Writes the golden store of the format that the code writes now: node .build/test/storage/log/golden/make.js DIR
 * For a new version of the format only: the files of a version that was released are never written again.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { directory, engineOn, filesOf } from '../../support/small-store.ts'
import { SimFs } from '../../support/sim-fs.ts'
import { goldenSteps } from './contents.ts'

const [target] = process.argv.slice(2)
if (target === undefined) throw new Error('usage: make.js DIR')
const fs = new SimFs()
const engine = engineOn(fs)
const store = await engine.open(directory)
let frozen: Promise<void> | undefined
for (const step of goldenSteps()) {
  if (step === 'flush') await store.flush()
  else if (step === 'freeze') frozen = store.flush()
  else {
    const batch = store.writer()
    for (const { space, key, value } of step.entries) {
      if (value === undefined) batch.delete(space, key, 0, key.length)
      else batch.put(space, key, 0, key.length, value, 0, value.length)
    }
    batch.commit(step.checkpoint)
  }
}
const files = filesOf(fs.kill())
await frozen
await engine.close()
mkdirSync(target, { recursive: true })
for (const [name, content] of files) if (name !== 'LOCK') writeFileSync(join(target, name), content)
