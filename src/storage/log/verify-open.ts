/**
 * Scrubbing a store that is open here, beside everything else it does. What is checked is the store as it was when it began:
 * a read view holds the tables, and the logs' files stay readable when they are removed. Owns these until it ends.
 */
import { StoreError } from '../errors.ts'
import type { StoreCore } from './core.ts'
import { currentName, logName, manifestName } from './format.ts'
import type { JobRunner } from './jobs.ts'
import { seeManifest } from './manifest.ts'
import { type LogToVerify, Scrub, type VerifyReport } from './verify.ts'

/**
 * Checks everything that counts, in the engine's turns. Rejects with StoreError ERR_STORE_CLOSED when the jobs of `owner`
 * are cancelled. Damage is told by the report.
 */
export function verifyOpen(core: StoreCore, runner: JobRunner, owner: object): Promise<VerifyReport> {
  return new Promise((resolve, reject) => {
    const closed = new StoreError('ERR_STORE_CLOSED', core.files.store, 'it was closed while it was verified')
    const steps = function* (): Generator<undefined, void> {
      try {
        resolve(yield* verifySteps(core))
      } finally {
        // Does nothing after an orderly end.
        reject(closed)
      }
    }
    runner.start(steps(), { owner, done: () => {}, failed: reject })
  })
}

function* verifySteps(core: StoreCore): Generator<undefined, VerifyReport> {
  const { files } = core
  const scrub = new Scrub({ doneBytes: 0, totalBytes: 0 })
  const view = core.view()
  const logs: LogToVerify[] = []
  try {
    scrub.attempt(currentName, () => checkManifest(scrub, core))
    for (const { number, size, before } of core.logsBehindTables()) {
      scrub.attempt(logName(number), () => {
        const handle = files.fs.openSync(`${files.dir}/${logName(number)}`, 'read')
        logs.push({ number, handle, size, before })
      })
    }
    const { upper, last } = view.version
    scrub.runs(
      upper.map(({ tables }) => tables),
      last.tables,
    )
    yield* scrub.tables(view.version.tables())
    yield* scrub.logs(files, logs)
    return scrub.report(files.store)
  } finally {
    for (const { handle } of logs) handle.closeSync()
    view.release()
  }
}

/** The manifest on disk says what the store knows. */
function checkManifest(scrub: Scrub, core: StoreCore): void {
  const { version, flushedSeq } = core
  const seen = seeManifest(core.files)
  if (seen === undefined) {
    scrub.fault(currentName, 0, 'it is missing')
    return
  }
  const name = manifestName(seen.fileNumber)
  const { upper, last } = version.numbers()
  const { state } = seen
  if (JSON.stringify([upper, last]) !== JSON.stringify([state.upper, state.last])) {
    scrub.fault(name, seen.byteLength, 'it names other tables than the store reads')
  }
  if (state.flushedSeq !== flushedSeq) {
    scrub.fault(
      name,
      seen.byteLength,
      `it says that batch ${state.flushedSeq} is in tables, the store batch ${flushedSeq}`,
    )
  }
  scrub.read(0, seen.byteLength)
}
