/** Results for people (a table) and for machines (a file). */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { CaseResult, MarkResult } from './harness.ts'
import { benchRoot } from './paths.ts'

/** A case as a table: medians, the range of the rates, and whether the marks were met. */
export function tableOf(result: CaseResult): string {
  const rows = [['', 'k records/s', '(min–max)', ...result.columns, 'CPU s per million', 'RSS MiB']]
  for (const { system, rounds, recordsPerSecond, cpuSecondsPerMillion, rssMiB, figures } of result.systems) {
    const rates = rounds.map(({ records, seconds }) => records / seconds / 1000)
    const range = `(${kilo(Math.min(...rates))}–${kilo(Math.max(...rates))})`
    const columns = result.columns.map((name) => amount(figures[name]))
    const cpu = cpuSecondsPerMillion.toFixed(2)
    rows.push([system, kilo(recordsPerSecond / 1000), range, ...columns, cpu, rssMiB.toFixed(0)])
  }
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)))
  const lines = rows.map((row) =>
    row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join('  '),
  )
  for (const mark of result.marks) lines.push(verdictOn(mark))
  return [`${result.workload} · ${result.case}: ${result.says}`, ...lines].join('\n')
}

/** A mark in words. */
function verdictOn({ ours, against, factor, figure, smaller, reached, met }: MarkResult): string {
  const times = against === undefined ? '' : ' ×'
  const subject = figure === undefined ? ours : `${figure} of ${ours}`
  const is = against === undefined ? amount(reached) : `${reached.toFixed(2)} × ${against}`
  const limit = smaller === true ? 'mark at most' : 'mark'
  return `${subject} is ${is}; ${limit} ${factor}${times}: ${met ? 'met' : 'MISSED'}`
}

function amount(value: number | undefined): string {
  if (value === undefined) return '–'
  return value.toFixed(value >= 100 ? 0 : value >= 10 ? 1 : 2)
}

function kilo(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toFixed(1)
}

/** Writes bench/results/<workload>-<case>.json and returns its path. */
export function writeResult(result: CaseResult): string {
  const dir = join(benchRoot, 'results')
  mkdirSync(dir, { recursive: true })
  const path = join(dir, `${result.workload}-${result.case}.json`)
  writeFileSync(path, `${JSON.stringify(result, null, 2)}\n`)
  return path
}
