/**
 * Rules over what users read: documents (one title, links that resolve) and the emitted declarations of every public
 * entry (each exported thing and each of its public members has a doc comment). Pure, as check-source.ts.
 */
import { posix } from 'node:path'
import { checkWords, type Finding, type SourceFile } from './check-source.ts'
import { type Scan, scan } from './scan.ts'

/** `exists` answers for any path of the repository; `titlesOf` gives the anchors of a document. */
export function checkDocument(
  file: SourceFile,
  exists: (path: string) => boolean,
  read: (path: string) => string,
): Finding[] {
  const findings: Finding[] = []
  const report = (line: number, message: string): void => void findings.push({ path: file.path, line, message })
  checkWords(file, report)
  const titles: number[] = []
  let fenced = false
  file.text.split('\n').forEach((line, index) => {
    if (/^\s*(```|~~~)/.test(line)) fenced = !fenced
    if (fenced) return
    if (/^# /.test(line)) titles.push(index + 1)
    for (const [, target] of line.replaceAll(/`[^`]*`/g, '').matchAll(/\]\(([^)\s]+)\)/g)) {
      if (target === undefined || /^[a-z]+:/.test(target)) continue
      const [to, anchor] = target.split('#') as [string, string | undefined]
      const path = to === '' ? file.path : posix.join(posix.dirname(file.path), to)
      if (!exists(path)) report(index + 1, `the link to ${target} leads nowhere`)
      else if (anchor !== undefined && path.endsWith('.md') && !anchorsOf(read(path)).includes(anchor)) {
        report(index + 1, `${path} has no heading #${anchor}`)
      }
    }
  })
  if (titles.length !== 1) report(titles[1] ?? 1, `a document has one # title; this has ${titles.length}`)
  return findings
}

function anchorsOf(text: string): string[] {
  return [...text.matchAll(/^#+ (.*)$/gm)].map(([, title]) =>
    (title ?? '')
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
      .trim()
      .replaceAll(' ', '-'),
  )
}

interface Declaration {
  readonly kind: string
  readonly name: string
  readonly line: number
  readonly documented: boolean
  readonly members: readonly { readonly name: string; readonly line: number; readonly documented: boolean }[]
  /** What it extends and implements: members documented there need no comment here, as in editors. */
  readonly parents: readonly string[]
}
interface Module {
  readonly declarations: ReadonlyMap<string, Declaration>
  /** Local name → where it comes from. */
  readonly imported: ReadonlyMap<string, { readonly name: string; readonly from: string }>
  /** Exported name → where it comes from; `from` is undefined for a local name. */
  readonly exports: ReadonlyMap<string, { readonly name: string; readonly from?: string }>
  /** Modules re-exported as a whole. */
  readonly stars: readonly string[]
}

const declarationKinds = new Set(['function', 'class', 'interface', 'type', 'const', 'let', 'var', 'enum', 'namespace'])

/** Reads one emitted .d.ts. It relies on the compiler's regular output: one statement after another, no bodies. */
export function readDeclarations(text: string): Module {
  const scanned = scan(text)
  const { tokens } = scanned
  const declarations = new Map<string, Declaration>()
  const exports = new Map<string, { name: string; from?: string }>()
  const imported = new Map<string, { name: string; from: string }>()
  const stars: string[] = []
  const is = (i: number, word: string): boolean => tokens[i]?.text === word && tokens[i]?.kind !== 'string'
  const end = (from: number): number => statementEnd(scanned, from)
  for (let start = 0; start < tokens.length; ) {
    let at = start
    const exported = is(at, 'export')
    if (exported) at++
    if (is(at, 'import') || (exported && (is(at, '{') || is(at, '*') || (is(at, 'type') && is(at + 1, '{'))))) {
      const stop = end(start)
      const source = tokens.slice(start, stop).findLast((token) => token.kind === 'string')?.text
      if (is(at, 'import')) at++
      if (is(at, 'type')) at++
      if (is(at, '*')) {
        if (exported && source !== undefined) stars.push(source)
      } else if (is(at, '{')) {
        for (at++; at < stop && !is(at, '}'); at++) {
          if (is(at, 'type') && tokens[at + 1]?.kind === 'word' && !is(at + 1, 'as')) at++
          const name = tokens[at]!.text
          const alias = is(at + 1, 'as') ? tokens[at + 2]!.text : name
          if (exported) exports.set(alias, source === undefined ? { name } : { name, from: source })
          else if (source !== undefined) imported.set(alias, { name, from: source })
          while (at < stop && !is(at + 1, ',') && !is(at + 1, '}')) at++
          if (is(at + 1, ',')) at++
        }
      }
      start = stop
      continue
    }
    while (is(at, 'declare') || is(at, 'abstract') || is(at, 'default')) at++
    const kind = tokens[at]!.text
    const stop = end(start)
    if (declarationKinds.has(kind) && tokens[at + 1]?.kind === 'word') {
      const name = tokens[at + 1]!.text
      const before = declarations.get(name)
      const documented = hasDoc(scanned, start) || before?.documented === true
      const members = kind === 'class' || kind === 'interface' ? membersOf(scanned, at, stop, kind) : []
      declarations.set(name, {
        kind,
        name,
        line: tokens[start]!.line,
        documented,
        members: [...(before?.members ?? []), ...members],
        parents: [...(before?.parents ?? []), ...parentsOf(scanned, at, stop)],
      })
      if (exported) exports.set(name, { name })
    }
    start = stop
  }
  // `import { A } from './a.js'; export { A }` comes from ./a.js.
  for (const [alias, entry] of exports) {
    const origin = entry.from === undefined ? imported.get(entry.name) : undefined
    if (origin !== undefined) exports.set(alias, origin)
  }
  return { declarations, imported, exports, stars }
}

/** Names behind `extends` and `implements`, before the body; those of type arguments are not among them. */
function parentsOf({ tokens }: Scan, from: number, stop: number): string[] {
  const parents: string[] = []
  let depth = 0
  let inClause = false
  for (let i = from; i < stop && !(depth === 0 && is(tokens[i], '{')); i++) {
    const { text, kind } = tokens[i]!
    if (text === '<') depth++
    else if (text === '>' && !is(tokens[i - 1], '=')) depth--
    else if (depth > 0 || kind !== 'word') continue
    else if (text === 'extends' || text === 'implements') inClause = true
    else if (inClause) parents.push(text)
  }
  return parents
}

function hasDoc({ comments }: Scan, token: number): boolean {
  return comments.some(
    (comment) => comment.before === token && /^\/\*\*\s*[^\s*]|^\/\*\*[\s*]+[^\s*/]/.test(comment.text),
  )
}

/** Index behind the statement that begins at `from`: a `;` outside brackets, or the `}` that ends a body. */
function statementEnd({ tokens }: Scan, from: number): number {
  let depth = 0
  const bodied = tokens
    .slice(from, from + 4)
    .some((token) => ['class', 'interface', 'namespace', 'enum'].includes(token.text))
  for (let i = from; i < tokens.length; i++) {
    const { text, kind } = tokens[i]!
    if (kind !== 'punct') continue
    if ('([{'.includes(text)) depth++
    else if (')]}'.includes(text)) {
      depth--
      if (depth === 0 && text === '}' && bodied && angleBalanced(tokens.slice(from, i)))
        return is(tokens[i + 1], ';') ? i + 2 : i + 1
    } else if (text === ';' && depth === 0) return i + 1
  }
  return tokens.length
}

const is = (token: { text: string } | undefined, text: string): boolean => token?.text === text

/** A `{}` inside type arguments (`extends Base<{ a: 1 }>`) does not end a class. */
function angleBalanced(tokens: readonly { text: string; kind: string }[]): boolean {
  let angles = 0
  let depth = 0
  tokens.forEach(({ text, kind }, i) => {
    if (kind !== 'punct') return
    if (text === '{') depth++
    else if (text === '}') depth--
    else if (depth === 0 && text === '<') angles++
    else if (depth === 0 && text === '>' && !is(tokens[i - 1], '=')) angles--
  })
  return angles === 0
}

/** Constructors, disposal and an error's `name` explain themselves; overloads share the first one's comment. */
const selfEvident = new Set([
  'constructor',
  '[Symbol.asyncDispose]',
  '[Symbol.dispose]',
  '[Symbol.asyncIterator]',
  '[Symbol.iterator]',
])

function membersOf(scanned: Scan, from: number, stop: number, kind: string): Declaration['members'] {
  const { tokens } = scanned
  let open = from
  while (open < stop && !(is(tokens[open], '{') && angleBalanced(tokens.slice(from, open)))) open++
  const isError = tokens
    .slice(from, open)
    .some((token, i, all) => token.text === 'extends' && /Error$/.test(all[i + 1]?.text ?? ''))
  const members: { name: string; line: number; documented: boolean }[] = []
  for (let i = open + 1; i < stop && !is(tokens[i], '}'); ) {
    const start = i
    let hidden = false
    while (
      [
        'readonly',
        'static',
        'abstract',
        'private',
        'protected',
        'get',
        'set',
        'override',
        'declare',
        'accessor',
      ].includes(tokens[i]!.text)
    ) {
      if (['(', ':', '?', ';', '<'].includes(tokens[i + 1]!.text)) break
      if (tokens[i]!.text === 'private' || tokens[i]!.text === 'protected') hidden = true
      i++
    }
    let name = tokens[i]!.text
    if (name === '[') {
      const close = tokens.findIndex((token, at) => at > i && token.text === ']')
      name = tokens
        .slice(i, close + 1)
        .map((token) => token.text)
        .join('')
    }
    const skip =
      hidden ||
      name.startsWith('#') ||
      selfEvident.has(name) ||
      (isError && name === 'name') ||
      (kind === 'interface' && name === '(')
    const known = members.find((member) => member.name === name)
    if (!skip && known === undefined)
      members.push({ name, line: tokens[start]!.line, documented: hasDoc(scanned, start) })
    let depth = 0
    for (; i < stop; i++) {
      const { text, kind: tokenKind } = tokens[i]!
      if (tokenKind !== 'punct') continue
      if ('([{'.includes(text)) depth++
      else if (')]}'.includes(text)) depth--
      else if (text === ';' && depth === 0) break
      if (depth < 0) return members
    }
    i++
  }
  return members
}

/** Everything a public entry exports, followed through re-exports, must be documented. `read` gives the text of a .d.ts. */
export function checkEntry(
  entry: string,
  read: (path: string) => string | undefined,
  seen: Set<string> = new Set(),
): Finding[] {
  const findings: Finding[] = []
  const modules = new Map<string, Module | undefined>()
  const load = (path: string): Module | undefined => {
    if (!modules.has(path)) {
      const text = read(path)
      modules.set(path, text === undefined ? undefined : readDeclarations(text))
    }
    return modules.get(path)
  }
  const target = (from: string, specifier: string): string =>
    posix.join(posix.dirname(from), specifier.replace(/\.js$/, '.d.ts').replace(/(?<!\.d)\.ts$/, '.d.ts'))
  const documentedAbove = (path: string, { parents }: Declaration, member: string, trail: number): boolean =>
    trail < 20 &&
    parents.some((parent) => {
      const origin = load(path)?.imported.get(parent)
      const there = origin?.from.startsWith('.') === true ? target(path, origin.from) : path
      const declaration = load(there)?.declarations.get(origin?.name ?? parent)
      if (declaration === undefined) return false
      const known = declaration.members.find(({ name }) => name === member)
      return known?.documented === true || documentedAbove(there, declaration, member, trail + 1)
    })
  const follow = (path: string, name: string, trail: number): void => {
    const found = load(path)
    const exported = found?.exports.get(name)
    if (exported?.from !== undefined && trail < 20) {
      if (exported.from.startsWith('.')) follow(target(path, exported.from), exported.name, trail + 1)
      return
    }
    const declaration = found?.declarations.get(exported?.name ?? name)
    if (declaration === undefined) {
      for (const star of found?.stars ?? []) follow(target(path, star), name, trail + 1)
      return
    }
    if (seen.has(`${path} ${name}`)) return
    seen.add(`${path} ${name}`)
    if (!declaration.documented)
      findings.push({
        path,
        line: declaration.line,
        message: `${declaration.kind} ${name} is public and has no doc comment`,
      })
    for (const member of declaration.members) {
      if (!member.documented && !documentedAbove(path, declaration, member.name, 0))
        findings.push({ path, line: member.line, message: `${name}.${member.name} is public and has no doc comment` })
    }
  }
  const names = (path: string, trail: number): string[] => {
    const found = load(path)
    if (found === undefined || trail > 20) return []
    return [...found.exports.keys(), ...found.stars.flatMap((star) => names(target(path, star), trail + 1))]
  }
  if (load(entry) === undefined)
    return [{ path: entry, line: 1, message: 'is an entry of package.json but was not built: npm run build' }]
  for (const name of names(entry, 0)) follow(entry, name, 0)
  return findings
}
