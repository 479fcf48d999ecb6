/** The real world as a Scope: the process's clock and randomness, TCP, and the file system that the caller brings. */
import type { Fs } from '../base/fs.ts'
import type { Network } from '../base/network.ts'
import { realRandom } from '../base/real-random.ts'
import { realScheduler } from '../base/real-scheduler.ts'
import type { Scope } from '../base/scope.ts'
import { tcpNetwork } from './tcp.ts'

/**
 * A new real Scope. Without `fs`, code that asks for files fails with a TypeError that says so: the client and a broker
 * in memory never do. `network` replaces TCP.
 */
export function defaultScope(fs: Fs = noFiles(), network: Network = tcpNetwork()): Scope {
  return { scheduler: realScheduler, random: realRandom, network, fs }
}

/** A file system that refuses: for scopes whose owner never touches files. */
function noFiles(): Fs {
  const refuse = (): never => {
    throw new TypeError('this scope was made without a file system: pass one to defaultScope')
  }
  return {
    openSync: refuse,
    existsSync: refuse,
    mkdirSync: refuse,
    readdirSync: refuse,
    renameSync: refuse,
    remove: async () => refuse(),
    removeSync: refuse,
    syncDirSync: refuse,
  }
}
