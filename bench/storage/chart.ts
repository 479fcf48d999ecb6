/** Draws what the storage cases reached as bars: how many times as fast millrace is as each peer. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { CaseResult } from '../harness.ts'
import { median } from '../harness.ts'
import { benchRoot, projectRoot } from '../paths.ts'
import { storage } from './workloads.ts'

/** One group of bars. */
export interface Row {
  readonly label: string
  /** How many times as good as the peer; undefined: not measured. */
  readonly ratios: readonly (number | undefined)[]
}

const peers: readonly { readonly name: string; readonly colour: string }[] = [
  { name: 'classic-level', colour: '#2f6db5' },
  { name: 'lmdb-nosync', colour: '#d98324' },
]

/**
 * Cases where a rate says nothing: what they measure is in the tables. In the last one the rate of a peer that maps its files
 * hangs on how far the system reads ahead.
 */
const without = new Set(['loop-delay', 'memory', 'get-many-cold'])
/** Of these the figure counts, not the rate. */
const byFigure: Readonly<Record<string, string>> = { 'reopen-1m': 'open ms', 'reopen-10m': 'open ms' }

/** The median over the rounds of what millrace has as a multiple of what `peer` has. */
function ratio(result: CaseResult, peer: string): number | undefined {
  const roundsOf = (name: string): CaseResult['systems'][number]['rounds'] | undefined =>
    result.systems.find(({ system }) => system === name)?.rounds
  const ours = roundsOf('millrace')
  const theirs = roundsOf(peer)
  if (ours === undefined || theirs === undefined) return undefined
  const figure = byFigure[result.case]
  return median(
    ours.map((run, i) => {
      const other = theirs[i]!
      if (figure !== undefined) return Number(other.notes[figure]) / Number(run.notes[figure])
      return run.records / run.seconds / (other.records / other.seconds)
    }),
  )
}

function resultOf(name: string): CaseResult | undefined {
  const dir = join(benchRoot, 'results')
  const file = `storage-${name}.json`
  return readdirSync(dir).includes(file) ? (JSON.parse(readFileSync(join(dir, file), 'utf8')) as CaseResult) : undefined
}

/** Writes docs/storage-ratios.svg from bench/results and returns its path. Results of another scale than 1 are left out. */
export function drawChart(): string {
  const rows: Row[] = []
  let shown: CaseResult | undefined
  for (const { name } of storage.cases) {
    const result = without.has(name) ? undefined : resultOf(name)
    if (result === undefined || result.scale !== 1) continue
    const ratios = peers.map((peer) => ratio(result, peer.name))
    if (ratios.every((value) => value === undefined)) continue
    rows.push({ label: name, ratios })
    shown = result
  }
  if (shown === undefined) throw new Error('bench/results has no storage results at scale 1')
  const { processor, processors } = shown.machine
  const path = join(projectRoot, 'docs', 'storage-ratios.svg')
  writeFileSync(path, chartOf(rows, `${processors} × ${processor}, Node ${shown.versions['node']}, medians of rounds`))
  return path
}

const labelWidth = 150
const barsWidth = 520
const width = labelWidth + barsWidth + 70
const barHeight = 12
const top = 66

/** The chart as SVG: a logarithmic axis, so that twice and half as fast are equally far from the line at 1. */
export function chartOf(rows: readonly Row[], below: string): string {
  const all = rows.flatMap(({ ratios }) => ratios.filter((value) => value !== undefined))
  const least = Math.min(0.5, 2 ** Math.floor(Math.log2(Math.min(...all))))
  const most = Math.max(4, 2 ** Math.ceil(Math.log2(Math.max(...all))))
  const x = (value: number): number => labelWidth + (barsWidth * Math.log2(value / least)) / Math.log2(most / least)
  const rowHeight = barHeight * peers.length + 12
  const bottom = top + rows.length * rowHeight
  const parts: string[] = []
  const text = (at: string, body: string): void => void parts.push(`<text ${at}>${escapeXml(body)}</text>`)
  text('x="12" y="22" font-size="15" font-weight="600"', 'How many times as fast as the others')
  peers.forEach(({ name, colour }, i) => {
    parts.push(`<rect x="${12 + i * 170}" y="34" width="12" height="12" fill="${colour}"/>`)
    text(`x="${30 + i * 170}" y="44"`, `millrace : ${name}`)
  })
  for (let value = least; value <= most; value *= 2) {
    const weight = value === 1 ? 'stroke="#444" stroke-width="1.5"' : 'stroke="#ddd"'
    parts.push(`<line x1="${fixed(x(value))}" x2="${fixed(x(value))}" y1="${top - 4}" y2="${bottom}" ${weight}/>`)
    text(`x="${fixed(x(value))}" y="${bottom + 14}" text-anchor="middle" fill="#555"`, `${value}×`)
  }
  rows.forEach(({ label, ratios }, row) => {
    const y = top + row * rowHeight + 4
    text(`x="${labelWidth - 10}" y="${y + barHeight + 4}" text-anchor="end"`, label)
    ratios.forEach((value, i) => {
      if (value === undefined) return
      const [from, to] = value < 1 ? [x(value), x(1)] : [x(1), x(value)]
      const at = y + i * barHeight
      const bar = `x="${fixed(from)}" y="${at}" width="${fixed(to - from)}" height="${barHeight - 2}"`
      parts.push(`<rect ${bar} fill="${peers[i]!.colour}"/>`)
      text(`x="${fixed(to + 4)}" y="${at + barHeight - 3}" font-size="10"`, value.toFixed(value < 10 ? 2 : 1))
    })
  })
  text(`x="12" y="${bottom + 36}" font-size="10" fill="#555"`, below)
  const height = bottom + 48
  const open = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}"`
  const font = 'font-family="system-ui, sans-serif" font-size="12" fill="#222"'
  const title = '<title>Storage: millrace beside classic-level and lmdb</title>'
  const paper = `<rect width="${width}" height="${height}" fill="#fff"/>`
  return `${open} ${font} role="img">\n${[title, paper, ...parts].join('\n')}\n</svg>\n`
}

function fixed(value: number): string {
  return value.toFixed(1)
}

function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
}
