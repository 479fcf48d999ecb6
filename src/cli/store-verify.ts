/** `millrace store verify`: reads every byte of a table on disk and says what is damaged. Changes nothing. */
import { MillraceError } from '../base/errors.ts'
import { ReadOnlyStore, type StoreFault, type VerifyReport } from '../storage/index.ts'
import { type Output, ProgressLine, withOutput } from './output.ts'
import { storeArguments } from './store-arguments.ts'
import { counted, sized, type StorePlace } from './store-directory.ts'

const usage = `usage: millrace store verify DIR [--json]

Reads everything in DIR, the table of a partition, or in all partitions of <dir>/<group>/<table>, and checks that it is
whole and fits together. Changes nothing, and may be used while a process has the table open: it says what it could not
check then. Ends with 1 when something is damaged or cannot be read.

  --json   the report of each table as a JSON object, on a line of its own`

/** Runs the command. */
export async function verifyCommand(args: readonly string[]): Promise<void> {
  const given = storeArguments(args, usage)
  if (given === undefined) {
    console.log(usage)
    return
  }
  const damaged: string[] = []
  const unread: string[] = []
  await withOutput(async (output) => {
    for (const place of given.places) {
      const report = verified(place)
      if (report.faults.some(({ code }) => code === undefined)) damaged.push(report.store)
      else if (report.faults.length > 0) unread.push(report.store)
      if (given.json) await output.line(JSON.stringify({ path: place.path, ...report }))
      else await print(output, report)
    }
  })
  if (damaged.length > 0) {
    const remedy =
      'restore the directory from a copy, or remove it with millrace store discard: it is built again from its topic then'
    throw new MillraceError('ERR_STORE_CORRUPT', `${damaged.join(', ')} damaged: ${remedy}`)
  }
  if (unread.length > 0) {
    const remedy =
      'nothing is known to be damaged. Run it as the user whose application it is, or see what the disk has'
    throw new MillraceError('ERR_STORE_IO', `${unread.join(', ')} could not be read completely: ${remedy}`)
  }
}

function verified(place: StorePlace): VerifyReport {
  using store = ReadOnlyStore.open(place.path, { name: place.name })
  const progress = { doneBytes: 0, totalBytes: 0 }
  const line = new ProgressLine()
  try {
    const steps = store.verify(progress)
    for (;;) {
      const step = steps.next()
      if (step.done === true) return step.value
      line.update(() => `${place.name}: ${sized(progress.doneBytes)} of ${sized(progress.totalBytes)} read`)
    }
  } finally {
    line.clear()
  }
}

async function print(output: Output, report: VerifyReport): Promise<void> {
  const { store, files, entries, bytes, faults, notes } = report
  const unread = faults.filter(({ code }) => code !== undefined)
  const damaged = faults.filter(({ code }) => code === undefined)
  const places = (list: readonly StoreFault[]): string =>
    `${counted(list.length)} ${list.length === 1 ? 'file' : 'places'}`
  const verdicts = [
    damaged.length > 0 ? `${places(damaged)} damaged` : '',
    unread.length > 0 ? `${places(unread)} not readable` : '',
  ]
  const verdict = verdicts.filter((one) => one !== '').join(', ') || 'whole'
  await output.line(`${store}: ${verdict}; ${counted(files)} files read, ${counted(entries)} entries, ${sized(bytes)}`)
  const lines = (what: string, list: readonly StoreFault[]): string[] =>
    list.map(({ file, offset, what: text }) => `  ${what} ${file}, byte ${offset}: ${text}`)
  for (const line of [...lines('damage:', damaged), ...lines('not readable:', unread), ...lines('note:', notes)])
    await output.line(line)
}
