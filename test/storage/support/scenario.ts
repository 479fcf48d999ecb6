/**
 * One life of a store under faults: open, the moves of a history, close. Says what went wrong and where the store stands,
 * and checks what must hold whatever fails: errors have codes, reads go on, nothing stays open. Owns nothing after it ends.
 */
import { type LogEngine, type LogStore, StoreError } from '../../../src/storage/index.ts'
import { type Bounds, Driver, type DriverOptions } from './driver.ts'
import type { FaultFs } from './fault-fs.ts'
import { contentOf } from './inspect.ts'
import { directory } from './lives.ts'
import type { Oracle } from './oracle.ts'

export interface ScenarioOptions {
  readonly endMove: number
  /** Where the store may stand at the beginning. Default: all that there is, durably. */
  readonly bounds?: Bounds
  /** Default: the first error ends the moves. */
  readonly onError?: DriverOptions['onError']
  readonly syncsBatches?: boolean
  /** Called before the store is closed. */
  readonly beforeClose?: (driver: Driver) => Promise<void>
}

export interface ScenarioEnd {
  readonly bounds: Bounds
  /** In the order they came; empty when all went well. */
  readonly errors: StoreError[]
  /** The store was open and could be read before it was closed. */
  readonly wasRead: boolean
}

/** Throws for what must never be, whatever fails. */
export async function runScenario(
  engine: LogEngine,
  fault: FaultFs,
  oracle: Oracle,
  options: ScenarioOptions,
): Promise<ScenarioEnd> {
  const errors: StoreError[] = []
  const note = (cause: unknown): void => {
    if (!(cause instanceof StoreError)) throw new Error(`an error without a code: ${String(cause)}`, { cause })
    errors.push(cause)
  }
  const bounds = options.bounds ?? { kept: oracle.unit, durable: oracle.unit, begun: oracle.unit }
  const before = fault.open.length
  let store: LogStore
  try {
    store = await engine.open(directory)
  } catch (cause) {
    note(cause)
    checkClosed(fault, before)
    return { bounds, errors, wasRead: false }
  }
  const driver = new Driver(
    store,
    oracle,
    {
      syncsBatches: options.syncsBatches ?? false,
      onError: async (cause, move) => {
        note(cause)
        if (options.onError === undefined) throw cause
        await options.onError(cause, move)
      },
    },
    bounds,
  )
  let wasRead = false
  try {
    await driver.run(options.endMove)
  } catch (cause) {
    if (!errors.includes(cause as StoreError)) note(cause)
  }
  try {
    wasRead = checkVisible(driver, note)
    await options.beforeClose?.(driver)
  } finally {
    try {
      await engine.close()
    } catch (cause) {
      note(cause)
    }
  }
  checkClosed(fault, before)
  return { bounds: driver.bounds, errors, wasRead }
}

/** Reads show everything that was done, or also what was being done. False: reading itself failed. */
function checkVisible(driver: Driver, note: (cause: unknown) => void): boolean {
  let found: ReturnType<typeof contentOf>
  try {
    found = contentOf(driver.store)
  } catch (cause) {
    note(cause)
    return false
  }
  driver.oracle.copy().locate(found, driver.oracle.unit, driver.bounds.begun)
  return true
}

function checkClosed(fault: FaultFs, before: number): void {
  if (fault.open.length > before) throw new Error(`left open: ${fault.open.slice(before).join(' ')}`)
}
