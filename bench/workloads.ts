/** The list of workloads. */
import { consumer } from './consumer.ts'
import { counter } from './counter.ts'
import { producer } from './producer.ts'
import type { Workload } from './workload.ts'

export const workloads: readonly Workload[] = [producer, consumer, counter]
