/**
 * A process for the tests of the lock: takes the lock whose path is its argument, says on its standard output how that
 * went, and holds it until its standard input ends. `check` on the input asks whether it still has it.
 */
import { createInterface } from 'node:readline'
import { realRandom } from '../../../src/base/real-random.ts'
import { StoreLock } from '../../../src/storage/log/lock.ts'
import { processIdentity } from '../../../src/storage/log/process-identity.ts'
import { nodeFs } from '../../../src/storage/node-fs.ts'

function codeOf(call: () => void): string {
  try {
    call()
    return 'ok'
  } catch (error) {
    return String((error as { code?: unknown }).code)
  }
}

let lock: StoreLock | undefined
const identity = processIdentity(realRandom)
console.log(
  codeOf(() => {
    lock = StoreLock.acquire(nodeFs(), process.argv[2]!, 'g/t/0', identity)
  }),
)
for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'check') console.log(codeOf(() => lock!.check()))
}
console.log(codeOf(() => lock?.release()))
