/** What the storage cases stand on: the temporary directory's disk and stores that were filled before. Owns those. */
import { mkdirSync, mkdtempSync, rmSync, statfsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { runChild, type Settings } from '../harness.ts'
import type { Case, Ground, Measurement, RunContext } from '../workload.ts'
import { inputs, killedInput } from './inputs.ts'
import type { StorageContext } from './run.ts'

/** Names of the file systems that matter, by their number in statfs. */
const fileSystems: Readonly<Record<number, string>> = {
  61267: 'ext4',
  1481003842: 'xfs',
  2435016766: 'btrfs',
  801189825: 'zfs',
  16914836: 'tmpfs',
  2035054128: 'overlayfs',
}

export class StorageGround implements Ground<StorageContext> {
  readonly versions: Readonly<Record<string, string>>
  readonly #settings: Settings
  readonly #dir = mkdtempSync(join(tmpdir(), 'millrace-bench-input-'))
  readonly #made = new Set<string>()

  constructor(settings: Settings) {
    this.#settings = settings
    const { type } = statfsSync(this.#dir)
    this.versions = { 'file system': fileSystems[type] ?? `0x${type.toString(16)}` }
  }

  async around(
    found: Case<StorageContext>,
    system: string,
    own: RunContext,
    run: (context: StorageContext) => Promise<Measurement>,
  ): Promise<Measurement> {
    return run({ ...own, input: await this.#input(found.input, system) })
  }

  /** The directory with an input, made when it is needed first. */
  async #input(name: string, system: string): Promise<string | undefined> {
    const input = inputs.cases.find((known) => known.name === name)
    if (input?.systems[system] === undefined) return undefined
    const dir = join(this.#dir, `${name}-${system}`)
    if (this.#made.has(dir)) return dir
    mkdirSync(dir)
    const context: StorageContext = { id: name, scale: this.#settings.scale, dir, input: undefined }
    const job = { workload: inputs.name, case: name, system, context }
    const killed = name === killedInput ? { killed: true as const } : {}
    const { seconds } = await runChild({ ...job, ...killed }, this.#settings, input.deadlineSeconds)
    console.log(`  made for ${system}: ${input.says}  ${seconds.toFixed(1)} s`)
    this.#made.add(dir)
    return dir
  }

  /** Removes the inputs. */
  remove(): void {
    rmSync(this.#dir, { recursive: true, force: true })
  }
}
