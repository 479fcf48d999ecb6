/** Tables in a SimFs, written from lists and read back into lists. */
import { everything } from '../../../src/storage/log/cursor.ts'
import { type StoreFiles, tableName } from '../../../src/storage/log/format.ts'
import type { Steps } from '../../../src/storage/log/jobs.ts'
import { applyStep, type MergeContext, type MergeStep } from '../../../src/storage/log/merge.ts'
import type { LevelLimits, Levels } from '../../../src/storage/log/levels.ts'
import { MergeCursor } from '../../../src/storage/log/merge-cursor.ts'
import { Run } from '../../../src/storage/log/run.ts'
import { Table } from '../../../src/storage/log/table.ts'
import type { TableMeta } from '../../../src/storage/log/table-layout.ts'
import { writeRun } from '../../../src/storage/log/write-run.ts'
import type { Fs } from '../../../src/base/fs.ts'
import { FaultFs } from './fault-fs.ts'
import { ListCursor, type ListEntry, readAll } from './list-cursor.ts'
import { SimFs } from './sim-fs.ts'

/** Runs steps to their end, waits blocking; an error of a wait comes in where it happened. Counts the steps. */
export function runSteps<T>(steps: Steps<T>, atStep?: (count: number) => void): T {
  let result = steps.next()
  for (let count = 1; result.done !== true; count++) {
    atStep?.(count)
    if (result.value === undefined) result = steps.next()
    else {
      let failure: { cause: unknown } | undefined
      try {
        result.value.block()
      } catch (cause) {
        failure = { cause }
      }
      result = failure === undefined ? steps.next() : steps.throw(failure.cause)
    }
  }
  return result.value
}

/** A directory with tables, and the levels they are in. */
export class TableWorld {
  readonly sim = new SimFs()
  readonly fs = new FaultFs(this.sim)
  readonly files: StoreFiles
  levels: Levels<Table> = { upper: [], last: [] }
  /** Steps applied. */
  readonly steps: MergeStep[] = []
  #lastFile = 0

  constructor() {
    this.sim.mkdirSync('store')
    this.sim.syncDirSync('.')
    this.files = filesOn(this.fs)
  }

  readonly nextFile = (): number => {
    this.#lastFile += 1
    return this.#lastFile
  }

  /** Writes entries as tables. */
  write(entries: readonly ListEntry[], maxTableBytes?: number): Table[] {
    const options = maxTableBytes === undefined ? {} : { maxTableBytes }
    return runSteps(writeRun(this.files, this.nextFile, new ListCursor(entries), options)).map(this.open)
  }

  readonly open = (meta: TableMeta): Table => Table.open(this.files, meta.fileNumber)

  context(limits?: LevelLimits, onStep?: (step: MergeStep) => void): MergeContext {
    const world = this
    return {
      files: this.files,
      nextFile: this.nextFile,
      *apply(step: MergeStep): Steps<void> {
        world.apply(step)
        onStep?.(step)
        yield
      },
      ...(limits === undefined ? {} : { limits }),
    }
  }

  /** Makes a step the state, and removes the files that are in no level any more. */
  apply(step: MergeStep): void {
    const before = [...this.levels.upper.flat(), ...this.levels.last]
    this.levels = applyStep(this.levels, step, (meta) => {
      return before.find((table) => table.meta.fileNumber === meta.fileNumber) ?? this.open(meta)
    })
    this.steps.push(step)
    const after = new Set([...this.levels.upper.flat(), ...this.levels.last])
    for (const table of before) {
      if (after.has(table)) continue
      table.close()
      this.sim.removeSync(`store/${tableName(table.meta.fileNumber)}`)
    }
  }

  /** Every key with its newest version; deleted ones too. */
  entries(): ListEntry[] {
    const { upper, last } = this.levels
    return readAll(new MergeCursor([...upper, last].map((tables) => new Run(tables).cursor(everything))))
  }

  /** Files that are in no level, or missing from the directory. */
  leftovers(): string[] {
    const known = [...this.levels.upper.flat(), ...this.levels.last].map(({ meta }) => tableName(meta.fileNumber))
    const found = this.sim.readdirSync('store')
    return [...found.filter((name) => !known.includes(name)), ...known.filter((name) => !found.includes(name))]
  }

  /** Bytes of all files. */
  get bytes(): number {
    return this.sim.readdirSync('store').reduce((sum, name) => sum + this.sim.contentOf(`store/${name}`).length, 0)
  }

  close(): void {
    for (const table of [...this.levels.upper.flat(), ...this.levels.last]) table.close()
  }
}

function filesOn(fs: Fs): StoreFiles {
  return { fs, dir: 'store', store: 'group/table/0', storeId: Buffer.alloc(16, 7), hashSeed: 99, now: () => 1000 }
}
