/** tidy on good and bad snippets: each rule accepts what it should and says something useful about the rest. */
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { checkDocument, checkEntry } from '../../tools/tidy/check-docs.ts'
import { checkSources } from '../../tools/tidy/check-source.ts'
import { tidy } from '../../tools/tidy/main.ts'
import { importsOf, scan } from '../../tools/tidy/scan.ts'
import { suite } from '../support/suite.ts'

const test = suite('tools/tidy')
const tick = '`'

/** Findings of one snippet as `line message`; a header comment on its first line keeps that rule quiet. */
function say(path: string, text: string, ...others: [string, string][]): string[] {
  const files = [[path, text], ...others].map(([name, body]) => ({ path: name!, text: `/** Header. */ ${body}\n` }))
  return checkSources(files).map(({ path: where, line, message }) => `${where}:${line} ${message}`)
}
function accepts(path: string, text: string): void {
  assert.equal(say(path, text), [])
}
function refuses(path: string, text: string, says: RegExp): void {
  const findings = say(path, text)
  assert.is(findings.length, 1, findings.join('\n') || `nothing was said about: ${text}`)
  assert.match(findings[0]!, says)
}

const good: Record<string, [path: string, text: string][]> = {
  'imports along the arrows': [
    [
      'src/client/a.ts',
      `import { x } from '../base/x.ts'; import { y } from '../protocol/y.ts'; import { z } from '../net/index.ts'`,
    ],
    ['src/streams/port.ts', `import { Client } from '../client/index.ts'`],
    [
      'src/streams/a.ts',
      `import { murmur2 } from '../protocol/hash/murmur2.ts'; import type { Store } from '../storage/index.ts'`,
    ],
    [
      'src/index.ts',
      `import { int64 } from './streams/codecs/index.ts'; const broker = () => import('./broker/index.ts')`,
    ],
    ['src/cli/main.ts', `import fs from 'node:fs'; import { Millrace } from '../index.ts'; console.log(Date.now())`],
    [
      'src/protocol/gzip.ts',
      `import { gzipSync, constants } from 'node:zlib'; import { createHmac } from 'node:crypto'`,
    ],
  ],
  'seams may touch what they stand for': [
    ['src/base/real-scheduler.ts', `setTimeout(f, 1); Date.now(); performance.now(); setImmediate(f)`],
    ['src/base/real-random.ts', `Math.random()`],
    ['src/net/tcp.ts', `import net from 'node:net'; import { lookup } from 'node:dns/promises'`],
    ['src/storage/node-fs.ts', `import fs from 'node:fs'`],
  ],
  'words that only look banned': [
    [
      'src/base/a.ts',
      `// Date.now() and setTimeout\nconst s = 'Math.random()' + ${tick}\${a}console.log${tick}; /setTimeout\\//.test(s)`,
    ],
    ['src/base/b.ts', `scope.scheduler.setTimeout(1); x.performance; new Date(5); ({ setTimeout: 1 })`],
    ['src/base/c.ts', `const half = total / 2 / width // Date.now`],
    ['src/base/d.ts', `const a = ${tick}x\${b ? ${tick}\${c}${tick} : '}'}Math.random()${tick}`],
  ],
  'a test that runs': [['test/a/b.test.ts', `const test = suite('b'); test('is', () => {}); test.run()`]],
  'a reason': [['src/base/a.ts', `// TODO(needs transactions): more`]],
}
for (const [name, snippets] of Object.entries(good)) {
  test(`accepts ${name}`, () => {
    for (const [path, text] of snippets) accepts(path, text)
  })
}

const bad: [name: string, path: string, text: string, says: RegExp][] = [
  [
    'an import against the arrows',
    'src/protocol/a.ts',
    `import { c } from '../client/index.ts'`,
    /protocol may not import client.*it may import: base/,
  ],
  [
    'rooms that must not meet',
    'src/client/a.ts',
    `import type { B } from '../broker/index.ts'`,
    /client may not import broker/,
  ],
  [
    'a re-export against the arrows',
    'src/base/a.ts',
    `export { c } from '../net/index.ts'`,
    /base may not import net.*nothing/,
  ],
  [
    'a dynamic import against the arrows',
    'src/client/a.ts',
    `await import('../broker/index.ts')`,
    /client may not import broker/,
  ],
  ['a side door', 'src/client/a.ts', `import { t } from '../net/tcp.ts'`, /enter net by its door, src\/net\/index.ts/],
  ["a room's own door", 'src/net/a.ts', `import { t } from './index.ts'`, /never imports its own door/],
  ['a door of base', 'src/base/index.ts', `export { a } from './a.ts'`, /base has no door/],
  ['a door that names nothing', 'src/net/index.ts', `export * from './tcp.ts'`, /a door names what it exports/],
  ['an unknown room', 'src/utils/a.ts', '', /"utils" is no room/],
  [
    'Kafka outside the port',
    'src/streams/view.ts',
    `import { Client } from '../client/index.ts'`,
    /through src\/streams\/port.ts/,
  ],
  ['messages in streams', 'src/streams/a.ts', `import { fetch } from '../protocol/api/fetch.ts'`, /no messages/],
  ['src that imports tests', 'src/net/a.ts', `import { s } from '../../test/support/suite.ts'`, /nothing outside src/],
  ['a dependency', 'src/net/a.ts', `import x from 'lodash'`, /no runtime dependencies/],
  ["node's module without node:", 'src/storage/node-fs.ts', `import fs from 'fs'`, /written node:/],
  [
    'files outside the seam',
    'src/storage/log.ts',
    `import { openSync } from 'node:fs'`,
    /\(files\) only in a seam: src\/storage\/node-fs.ts/,
  ],
  ['sockets outside the seam', 'src/net/frames.ts', `import type { Socket } from 'node:net'`, /sockets/],
  ['timers as a module', 'src/client/a.ts', `import { setTimeout } from 'node:timers/promises'`, /timers/],
  ['a module not for this room', 'src/streams/a.ts', `import vm from 'node:vm'`, /node:vm is not allowed in streams/],
  [
    'the machine outside its seam',
    'src/storage/a.ts',
    `import os from 'node:os'`,
    /node:os \(processes\) only in a seam/,
  ],
  [
    'random from crypto',
    'src/broker/a.ts',
    `import { randomUUID } from 'node:crypto'`,
    /randomUUID of node:crypto is banned.*bytes|randomUUID.*random/,
  ],
  [
    'random through the default import',
    'src/broker/a.ts',
    `import crypto from 'node:crypto'; crypto.randomFillSync(b)`,
    /randomFillSync is banned/,
  ],
  ['async zlib', 'src/protocol/a.ts', `import { gzip } from 'node:zlib'`, /asyncZlib.*…Sync/],
  [
    'async zlib through a namespace',
    'src/protocol/a.ts',
    `import * as zlib from 'node:zlib'; zlib.createGunzip()`,
    /createGunzip is banned/,
  ],
  ['the clock', 'src/client/a.ts', `const t = Date.now()`, /Date.now is banned in src \(clock\): use .*now\(\)/],
  ['the clock through Date', 'src/client/a.ts', `const t = new Date()`, /new Date\(\) reads the clock/],
  ['performance', 'src/client/a.ts', `performance.now()`, /monotonic/],
  ['a timer', 'src/client/a.ts', `setTimeout(f, 5)`, /setTimer/],
  ['a timer through globalThis', 'src/client/a.ts', `globalThis.setTimeout(f, 5)`, /setTimer/],
  ['a timer in a template', 'src/client/a.ts', `const s = ${tick}\${setImmediate(f)}${tick}`, /immediate\(\)/],
  ['nextTick', 'src/client/a.ts', `process.nextTick(f)`, /queueMicrotask/],
  ['AbortSignal.timeout', 'src/client/a.ts', `fetchIt(AbortSignal.timeout(5))`, /sleep\(\)/],
  ['random', 'src/client/a.ts', `x = Math.random()`, /next\(\)/],
  ['console', 'src/client/a.ts', `console.log(1)`, /does not print/],
  [
    'a test that never runs',
    'test/a/b.test.ts',
    `const test = suite('b'); test('is', () => {})`,
    /never runs.*test\.run\(\)/,
  ],
  [
    'a second suite that never runs',
    'test/a/b.test.ts',
    `const a = suite('a'); const b = suite('b'); a.run()`,
    /b\.run\(\)/,
  ],
  ['a test file without suite', 'test/a/b.test.ts', `export const x = 1`, /no suite that runs/],
  ['only', 'test/a/b.test.ts', `const test = suite('b'); test.only('is', f); test.run()`, /hides every other test/],
  ['FIXME', 'tools/a.ts', `// ${'FIX'}ME later`, /FIXME/],
  ['TODO without reason', 'tools/a.ts', `/* ${'TO'}DO later */`, /TODO\(reason\)/],
  ['a switched-off compiler', 'tools/a.ts', `// @ts-${'ignore'}`, /@ts-expect-error/],
  ['a machine path', 'bench/a.ts', `const dir = '${'/home'}/someone/x'`, /path of one machine/],
  ['a registry host', 'bench/a.ts', `const url = 'https:${'//registry'}.example.org/'`, /host of a registry/],
]
for (const [name, path, text, says] of bad) test(`refuses ${name}`, () => refuses(path, text, says))

test('refuses cycles, of types too, once, and shows the way', () => {
  const findings = say(
    'src/base/a.ts',
    `import type { B } from './b.ts'`,
    ['src/base/b.ts', `import { C } from './c.ts'`],
    ['src/base/c.ts', `export { A } from './a.ts'`],
  )
  assert.is(findings.length, 1)
  assert.match(findings[0]!, /src\/base\/a\.ts → src\/base\/b\.ts → src\/base\/c\.ts → src\/base\/a\.ts/)
})

test('refuses a long file and one without header', () => {
  const long = checkSources([{ path: 'src/base/a.ts', text: `/** Long. */\n${'x()\n'.repeat(700)}` }])
  assert.match(long[0]!.message, /has 701 lines, more than 700/)
  const bare = checkSources([{ path: 'src/base/a.ts', text: `import './b.ts'\n/** Late. */` }])
  assert.match(bare[0]!.message, /begins without a comment/)
})

test('reads every form of import', () => {
  const text = `import a, { b as c, type D } from './1.ts'; import * as e from './2.ts'; import './3.ts'; import type F from './4.ts'
    import type { G } from './5.ts'; export { h as i } from './6.ts'; export * from './7.ts'; export type { J } from './8.ts'; import('./9.ts')
    const k = "import x from './no.ts'"; export const l = 1; import.meta.url`
  assert.equal(
    importsOf(scan(text)).map(({ specifier, names, kind, local }) =>
      [specifier, kind, names.join(), local].filter(Boolean).join(' '),
    ),
    [
      './1.ts static default,b,D a',
      './2.ts static * e',
      './3.ts static',
      './4.ts static default F',
      './5.ts static G',
      './6.ts reexport h',
      './7.ts reexport *',
      './8.ts reexport J',
      './9.ts dynamic',
    ],
  )
})

test('documents: one title, links that resolve', () => {
  const files = new Map([
    ['docs/b.md', '# B\n## Why it is so\n'],
    ['docs/a.md', ''],
  ])
  const check = (text: string): string[] =>
    checkDocument(
      { path: 'docs/a.md', text },
      (path) => files.has(path),
      (path) => files.get(path)!,
    ).map(({ line, message }) => `${line} ${message}`)
  assert.equal(
    check(
      `# A\n[b](b.md) [why](b.md#why-it-is-so) [out](https://example.com)\n${tick.repeat(3)}\n# shell\n[x](no.md)\n${tick.repeat(3)}\n`,
    ),
    [],
  )
  assert.match(check('# A\n# B\n').join(), /2 a document has one # title; this has 2/)
  assert.match(check('text').join(), /this has 0/)
  assert.match(check('# A\n[b](c.md)').join(), /2 the link to c\.md leads nowhere/)
  assert.match(check('# A\n[b](b.md#where)').join(), /no heading #where/)
})

test('declarations: every public thing and member has a doc comment', () => {
  const files = new Map([
    [
      'dist/index.d.ts',
      `export { A, type B, f as g } from './a.js';\nexport * from './c.js';\nimport { H } from './a.js';\nexport { H };`,
    ],
    [
      'dist/a.d.ts',
      `/** A. */
export declare class A<T extends { x: { y: 1 } } = { x: { y: 1 } }> implements Z<{ q: 1 }> {
    #private;
    private hidden;
    /** Documented. */
    readonly ok: (a: { b: 1 }) => void;
    bare: { inner: string; };
    constructor(a: number);
    /** Once for all overloads. */
    over(a: string): void;
    over(a: number): void;
    get both(): string;
    [Symbol.asyncDispose](): Promise<void>;
}
export interface B {
    /** Fine. */
    readonly a: number;
    b?: string;
}
export declare function f(): void;
/** Not public. */
export declare function hidden(): void;
/** H. */
export declare class H extends MillraceError {
    readonly name = "H";
}
export {};`,
    ],
    [
      'dist/c.d.ts',
      `export declare const c: { a: 1; };\n/** D. */\nexport type D = { a: 1; } | { b: 2; };\n/** */\nexport declare const e = 1;`,
    ],
  ])
  const said = checkEntry('dist/index.d.ts', (path) => files.get(path)).map(
    ({ path, line, message }) => `${path}:${line} ${message.split(' is public')[0]}`,
  )
  assert.equal(said, [
    'dist/a.d.ts:7 A.bare',
    'dist/a.d.ts:12 A.both',
    'dist/a.d.ts:15 interface B',
    'dist/a.d.ts:18 B.b',
    'dist/a.d.ts:20 function f',
    'dist/c.d.ts:1 const c',
    'dist/c.d.ts:5 const e',
  ])
  assert.match(checkEntry('dist/none.d.ts', () => undefined)[0]!.message, /was not built/)
})

test('a member that a parent documents needs no comment', () => {
  const files = new Map([
    [
      'dist/index.d.ts',
      `import type { Far as Parent } from './far.js';
/** N. */
export interface Near<T extends { a: 1 }> {
    /** Near. */
    near(): T;
    bare: T;
}
/** C. */
export declare class C extends Base<Near<{ a: 1; }>> implements Near<Far>, Parent {
    near(): 1;
    far: number;
    above: number;
    bare: 1;
    own: number;
}
export {};`,
    ],
    [
      'dist/far.d.ts',
      `interface Above { /** Above. */ above: number; }\nexport interface Far extends Above { /** Far. */ far: number; }`,
    ],
  ])
  const said = checkEntry('dist/index.d.ts', (path) => files.get(path)).map(({ message }) => message.split(' is ')[0])
  assert.equal(said, ['Near.bare', 'C.bare', 'C.own'])
})

test('this repository is tidy', () => {
  const findings = tidy(join(import.meta.dirname, '..', '..', '..'))
  assert.is(findings.map(({ path, line, message }) => `${path}:${line} ${message}`).join('\n'), '')
})

test.run()
