/**
 * Rules over TypeScript files: imports, cycles, banned names, tests that never run, size, comments.
 * Pure: takes paths and texts, returns findings; tools/tidy/main.ts reads the disk.
 */
import { posix } from 'node:path'
import {
  bannedGlobals,
  bannedNames,
  doors,
  foreignWords,
  maxLines,
  narrow,
  openRooms,
  type Power,
  powerModules,
  pureModules,
  roomModules,
  rooms,
  seams,
} from './rules.ts'
import { type Import, importsOf, type Scan, scan } from './scan.ts'

export interface SourceFile {
  /** Relative to the repository, with forward slashes. */
  readonly path: string
  readonly text: string
}
export interface Finding {
  readonly path: string
  readonly line: number
  readonly message: string
}

type Report = (line: number, message: string) => void

/** `src/client/metadata.ts` → `client`; files directly in src are the composition root. */
function roomOf(path: string): string {
  const parts = path.split('/')
  return parts.length === 2 ? 'root' : parts[1]!
}

export function checkSources(files: readonly SourceFile[]): Finding[] {
  const findings: Finding[] = []
  const graph = new Map<string, { to: string; line: number }[]>()
  for (const file of files) {
    const scanned = scan(file.text)
    const report: Report = (line, message) => void findings.push({ path: file.path, line, message })
    checkEveryFile(file, scanned, report)
    if (file.path.endsWith('.test.ts')) checkTest(scanned, report)
    if (file.path.startsWith('src/')) {
      const imports = importsOf(scanned)
      graph.set(file.path, checkImports(file.path, imports, report))
      checkModules(file.path, imports, report)
      checkGlobals(file.path, scanned, imports, report)
      if (scanned.comments[0]?.before !== 0)
        report(1, 'begins without a comment: say what the file is for and who owns its state')
    }
  }
  findings.push(...cycles(graph))
  return findings
}

function checkEveryFile(file: SourceFile, { comments }: Scan, report: Report): void {
  const lines = file.text.split('\n').length - 1
  if (lines > maxLines) report(lines, `has ${lines} lines, more than ${maxLines}: divide it by concept`)
  for (const { text, line } of comments) {
    if (/\b(FIXME|XXX)\b/.test(text)) report(line, 'FIXME: mend it, or say in a TODO(reason) what it waits for')
    if (/\bTODO\b(?!\([^)]{3,}\))/.test(text)) report(line, 'a TODO says what it waits for: TODO(reason)')
    if (/@ts-(ignore|nocheck)/.test(text))
      report(line, 'switches the compiler off; use @ts-expect-error with a reason, or mend the type')
    if (/@ts-expect-error\s*$/.test(text)) report(line, '@ts-expect-error without a reason behind it')
    if (/(oxlint|eslint)-disable(?!.* -- )/.test(text)) report(line, 'a lint suppression without ` -- reason`')
  }
  checkWords(file, report)
}

export function checkWords(file: SourceFile, report: Report): void {
  for (const { pattern, says } of foreignWords) {
    file.text.split('\n').forEach((line, index) => {
      const match = pattern.exec(line)
      if (match !== null) report(index + 1, `"${match[0]}" ${says}`)
    })
  }
}

function checkTest({ tokens }: Scan, report: Report): void {
  const texts = tokens.map((token) => (token.kind === 'string' ? '' : token.text))
  const suites: { name: string; line: number }[] = []
  texts.forEach((text, i) => {
    if (text === 'suite' && texts[i + 1] === '(' && texts[i - 1] === '=')
      suites.push({ name: texts[i - 2]!, line: tokens[i]!.line })
    if (text === 'only' && texts[i - 1] === '.' && texts[i + 1] === '(')
      report(tokens[i]!.line, '.only() hides every other test')
  })
  const runs = (name: string): boolean =>
    texts.some((text, i) => text === name && texts[i + 1] === '.' && texts[i + 2] === 'run')
  for (const { name, line } of suites) {
    if (!runs(name)) report(line, `the suite never runs: end the file with ${name}.run()`)
  }
  if (suites.length === 0 && !texts.some((text, i) => text === 'run' && texts[i - 1] === '.')) {
    report(1, "holds no suite that runs: const test = suite('…') … test.run()")
  }
}

/** Checks the arrows between rooms; returns the file's edges for the search of cycles. */
function checkImports(path: string, imports: readonly Import[], report: Report): { to: string; line: number }[] {
  const room = roomOf(path)
  const edges: { to: string; line: number }[] = []
  const allowed = rooms[room]
  if (allowed === undefined) report(1, `"${room}" is no room: add it to tools/tidy/rules.ts with what it may import`)
  if (path === 'src/base/index.ts') report(1, 'base has no door: its files are imported one by one')
  for (const { specifier, line, kind, names } of imports) {
    if (path.endsWith('/index.ts') && kind === 'reexport' && names[0] === '*' && names.length === 1) {
      report(line, `a door names what it exports: export { … } from '${specifier}'`)
    }
    if (!specifier.startsWith('.')) continue
    const to = posix.join(posix.dirname(path), specifier)
    // A cycle through import() cannot break the loading order and cannot be a type cycle.
    if (kind !== 'dynamic') edges.push({ to, line })
    if (!to.startsWith('src/')) {
      report(line, `src imports nothing outside src: ${specifier}`)
      continue
    }
    const target = roomOf(to)
    if (target === room) {
      if (room !== 'root' && to === `src/${room}/index.ts`)
        report(line, 'a room never imports its own door; import the file')
      continue
    }
    if (allowed === undefined) continue
    if (!allowed.includes(target)) {
      report(line, `${room} may not import ${target} (${specifier}); it may import: ${allowed.join(', ') || 'nothing'}`)
      continue
    }
    const door = to === `src/${target}/index.ts` || doors.includes(to) || target === 'root'
    if (!door && !openRooms.includes(target))
      report(line, `enter ${target} by its door, src/${target}/index.ts, not by ${specifier}`)
    for (const rule of narrow) {
      if (rule.from !== room || rule.to !== target) continue
      if (rule.files?.includes(path) === false || rule.parts?.test(to) === false)
        report(line, `${specifier}: ${rule.why}`)
    }
  }
  return edges
}

function mayUse(path: string, power: Power): boolean {
  return seams.some((seam) => seam.files.test(path) && seam.powers.includes(power))
}

function checkModules(path: string, imports: readonly Import[], report: Report): void {
  const room = roomOf(path)
  for (const { specifier, line, names } of imports) {
    if (specifier.startsWith('.')) continue
    const power = powerModules[specifier]
    if (power !== undefined) {
      if (!mayUse(path, power))
        report(line, `${specifier} (${power}) only in a seam: ${seamsOf(power)}; elsewhere take it from the Scope`)
    } else if (!specifier.startsWith('node:')) {
      report(line, `"${specifier}": millrace has no runtime dependencies, and node's modules are written node:…`)
    } else if (room !== 'cli' && !pureModules.includes(specifier) && roomModules[room]?.includes(specifier) !== true) {
      report(line, `${specifier} is not allowed in ${room} (tools/tidy/rules.ts: pureModules, roomModules)`)
    }
    for (const ban of bannedNames) {
      if (ban.module !== specifier || mayUse(path, ban.power)) continue
      for (const name of names)
        if (ban.names.test(name)) report(line, `${name} of ${specifier} is banned (${ban.power}): use ${ban.use}`)
    }
  }
}

function seamsOf(power: Power): string {
  return seams
    .filter((seam) => seam.powers.includes(power))
    .map((seam) => seam.files.source.replaceAll(/\\|\^|\$/g, ''))
    .join(', ')
}

function checkGlobals(path: string, { tokens }: Scan, imports: readonly Import[], report: Report): void {
  const texts = tokens.map((token) => (token.kind === 'word' || token.kind === 'punct' ? token.text : ''))
  texts.forEach((text, i) => {
    if (text === '') return
    const before = texts[i - 1]
    const member = before === '.' && texts[i - 2] !== 'globalThis' && texts[i - 2] !== '.'
    if (member) return
    const { line } = tokens[i]!
    const chain = texts[i + 1] === '.' ? `${text}.${texts[i + 2]}` : undefined
    const name = chain !== undefined && Object.hasOwn(bannedGlobals, chain) ? chain : text
    const ban = Object.hasOwn(bannedGlobals, name) ? bannedGlobals[name] : undefined
    // `setTimeout:` and `setTimeout?(` name a property or declare a method.
    const declares =
      name === text && (texts[i + 1] === ':' || texts[i + 1] === '?' || (before === '{' && texts[i + 1] === '}'))
    if (ban !== undefined && !declares && !mayUse(path, ban.power))
      report(line, `${name} is banned in src (${ban.power}): use ${ban.use}`)
    if (
      text === 'new' &&
      texts[i + 1] === 'Date' &&
      (texts[i + 2] !== '(' || texts[i + 3] === ')') &&
      !mayUse(path, 'clock')
    ) {
      report(line, `new Date() reads the clock: use ${bannedGlobals['Date.now']!.use}`)
    }
    for (const rule of bannedNames) {
      const local = imports.find((entry) => entry.specifier === rule.module && entry.local === text)
      if (local === undefined || texts[i + 1] !== '.' || mayUse(path, rule.power)) continue
      const used = texts[i + 2]!
      if (rule.names.test(used)) report(line, `${text}.${used} is banned in src (${rule.power}): use ${rule.use}`)
    }
  })
}

/** Each strongly connected group of files once, shown as one closed walk. */
function cycles(graph: ReadonlyMap<string, readonly { to: string; line: number }[]>): Finding[] {
  const findings: Finding[] = []
  const done = new Set<string>()
  const walk: string[] = []
  const visit = (path: string): void => {
    done.add(path)
    walk.push(path)
    for (const { to, line } of graph.get(path) ?? []) {
      const from = walk.indexOf(to)
      if (from >= 0) {
        const way = [...walk.slice(from), to].join(' → ')
        findings.push({
          path,
          line,
          message: `imports in a circle (types count): ${way}; move what both need into a third file`,
        })
      } else if (!done.has(to) && graph.has(to)) visit(to)
    }
    walk.pop()
  }
  for (const path of graph.keys()) if (!done.has(path)) visit(path)
  return findings
}
