/**
 * A tokenizer for TypeScript, as small as tidy's rules allow: it knows comments, strings, templates and regular
 * expressions well enough never to take their insides for code. It does not parse. Pure functions.
 */

export interface Token {
  /** `string` has the unquoted text; a template without `${}` is one string token, the parts of others are dropped. */
  readonly kind: 'word' | 'number' | 'string' | 'regex' | 'punct'
  readonly text: string
  readonly line: number
}
export interface Comment {
  readonly text: string
  readonly line: number
  /** Index of the token that follows. */
  readonly before: number
}
export interface Scan {
  readonly tokens: readonly Token[]
  readonly comments: readonly Comment[]
}
export interface Import {
  readonly specifier: string
  readonly line: number
  readonly kind: 'static' | 'dynamic' | 'reexport'
  /** Names on the other side; `*` for a namespace or an `export *`, `default` for a default import. */
  readonly names: readonly string[]
  /** The name the default or namespace import has here. */
  readonly local?: string
}

/** After these a slash begins a regular expression, not a division. */
const beforeRegex = new Set(
  'return typeof case in of delete void throw new else do yield await instanceof extends default'.split(' '),
)
const isWordStart = (c: string): boolean => /[\p{L}_$#]/u.test(c)
const isWordPart = (c: string): boolean => /[\p{L}\p{N}_$\u200c\u200d]/u.test(c)

export function scan(text: string): Scan {
  const tokens: Token[] = []
  const comments: Comment[] = []
  /** For every open `${`, the depth of braces inside it. */
  const templates: number[] = []
  let at = 0
  let line = 1
  const push = (kind: Token['kind'], body: string): void => void tokens.push({ kind, text: body, line })
  const skip = (to: number): void => {
    for (; at < to; at++) if (text[at] === '\n') line++
  }
  const regexAllowed = (): boolean => {
    const last = tokens.at(-1)
    if (last === undefined) return true
    if (last.kind === 'word') return beforeRegex.has(last.text)
    return last.kind === 'punct' && ![')', ']', '}'].includes(last.text)
  }
  /** From behind a backtick or a closing `}`: to the end of the template or to the next `${`. */
  const template = (opening: boolean): void => {
    const start = at
    while (at < text.length) {
      if (text[at] === '\\') skip(at + 2)
      else if (text[at] === '`') {
        if (opening) push('string', text.slice(start, at))
        at++
        return
      } else if (text.startsWith('${', at)) {
        if (opening) push('string', '')
        at += 2
        templates.push(0)
        return
      } else skip(at + 1)
    }
  }
  const regex = (): void => {
    const start = at++
    let inClass = false
    for (; at < text.length && text[at] !== '\n'; at++) {
      const c = text[at]
      if (c === '\\') at++
      else if (c === '[') inClass = true
      else if (c === ']') inClass = false
      else if (c === '/' && !inClass) break
    }
    at++
    while (at < text.length && isWordPart(text[at]!)) at++
    push('regex', text.slice(start, at))
  }

  if (text.startsWith('#!')) skip(text.indexOf('\n'))
  while (at < text.length) {
    const c = text[at]!
    if (/\s/.test(c)) skip(at + 1)
    else if (text.startsWith('//', at)) {
      const end = text.indexOf('\n', at)
      const to = end < 0 ? text.length : end
      comments.push({ text: text.slice(at, to), line, before: tokens.length })
      at = to
    } else if (text.startsWith('/*', at)) {
      const end = text.indexOf('*/', at + 2)
      const to = end < 0 ? text.length : end + 2
      comments.push({ text: text.slice(at, to), line, before: tokens.length })
      skip(to)
    } else if (c === "'" || c === '"') {
      let end = at + 1
      while (end < text.length && text[end] !== c && text[end] !== '\n') end += text[end] === '\\' ? 2 : 1
      push('string', text.slice(at + 1, end))
      skip(end + 1)
    } else if (c === '`') {
      at++
      template(true)
    } else if (c === '/' && regexAllowed()) regex()
    else if (isWordStart(c)) {
      let end = at + 1
      while (end < text.length && isWordPart(text[end]!)) end++
      push('word', text.slice(at, end))
      at = end
    } else if (/\d/.test(c)) {
      let end = at + 1
      while (end < text.length && /[\w.]/.test(text[end]!)) end++
      push('number', text.slice(at, end))
      at = end
    } else {
      const depth = templates.length - 1
      if (depth >= 0 && c === '{') templates[depth]!++
      if (depth >= 0 && c === '}' && templates[depth]!-- === 0) {
        templates.pop()
        at++
        template(false)
        continue
      }
      push('punct', c)
      at++
    }
  }
  return { tokens, comments }
}

/** Every import, re-export and `import()` with a literal specifier, types included. */
export function importsOf({ tokens }: Scan): Import[] {
  const found: Import[] = []
  const is = (i: number, text: string): boolean => tokens[i]?.text === text && tokens[i]?.kind !== 'string'
  for (let i = 0; i < tokens.length; i++) {
    const { text, kind, line } = tokens[i]!
    if (kind !== 'word' || (text !== 'import' && text !== 'export') || is(i - 1, '.')) continue
    if (text === 'import' && is(i + 1, '(') && tokens[i + 2]?.kind === 'string') {
      found.push({ specifier: tokens[i + 2]!.text, line, kind: 'dynamic', names: [] })
      continue
    }
    if (text === 'import' && tokens[i + 1]?.kind === 'string') {
      found.push({ specifier: tokens[i + 1]!.text, line, kind: 'static', names: [] })
      continue
    }
    let at = i + 1
    if (is(at, 'type') && !is(at + 1, 'from') && !is(at + 1, ',')) at++
    const names: string[] = []
    let local: string | undefined
    if (text === 'import' && tokens[at]?.kind === 'word') {
      names.push('default')
      local = tokens[at]!.text
      at += is(at + 1, ',') ? 2 : 1
    }
    if (is(at, '*')) {
      names.push('*')
      if (is(at + 1, 'as')) local = tokens[at + 2]!.text
      at += is(at + 1, 'as') ? 3 : 1
    } else if (is(at, '{')) {
      for (at++; at < tokens.length && !is(at, '}'); at++) {
        if (
          tokens[at]!.kind === 'word' &&
          (is(at - 1, '{') || is(at - 1, ',') || (is(at - 1, 'type') && !is(at, 'as')))
        ) {
          if (!(is(at, 'type') && tokens[at + 1]?.kind === 'word')) names.push(tokens[at]!.text)
        }
      }
      at++
    }
    if (is(at, 'from') && tokens[at + 1]?.kind === 'string') {
      const base = { specifier: tokens[at + 1]!.text, line, names }
      found.push({
        ...base,
        kind: text === 'export' ? 'reexport' : 'static',
        ...(local === undefined ? {} : { local }),
      })
    }
  }
  return found
}
