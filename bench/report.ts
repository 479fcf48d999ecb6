/** Results for people (a table) and for machines (a file). */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { CaseResult } from './harness.ts'
import { benchRoot } from './paths.ts'

/** A case as a table: medians, the range of the rates, and whether the marks were met. */
export function tableOf(result: CaseResult): string {
  const rows = [['', 'k records/s', '(min–max)', 'CPU s per million', 'RSS MiB']]
  for (const { system, rounds, recordsPerSecond, cpuSecondsPerMillion, rssMiB } of result.systems) {
    const rates = rounds.map(({ records, seconds }) => records / seconds / 1000)
    const range = `(${kilo(Math.min(...rates))}–${kilo(Math.max(...rates))})`
    rows.push([system, kilo(recordsPerSecond / 1000), range, cpuSecondsPerMillion.toFixed(2), rssMiB.toFixed(0)])
  }
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)))
  const lines = rows.map((row) =>
    row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join('  '),
  )
  for (const { ours, against, factor, reached } of result.marks) {
    const verdict = reached >= factor ? 'met' : 'MISSED'
    lines.push(`${ours} is ${reached.toFixed(2)} × ${against}; mark ${factor} ×: ${verdict}`)
  }
  return [`${result.workload} · ${result.case}: ${result.says}`, ...lines].join('\n')
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
