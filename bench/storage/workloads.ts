/** The storage workload, and the one that makes its inputs. */
import type { Workload } from '../workload.ts'
import { coldCases } from './cold.ts'
import { costCases } from './cost.ts'
import { inputs } from './inputs.ts'
import { loadCases } from './load.ts'
import { readCases } from './read.ts'
import { reopenCases } from './reopen.ts'
import type { StorageContext } from './run.ts'
import { updateCases } from './update.ts'

export const storage: Workload<StorageContext> = {
  name: 'storage',
  cases: [...loadCases, ...readCases, ...coldCases, ...updateCases, ...reopenCases, ...costCases],
}

export const workloads: readonly Workload<StorageContext>[] = [storage, inputs]
