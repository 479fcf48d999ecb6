/**
 * What npm would publish, judged from an empty folder: every subpath imports and type-checks, nothing else comes with it,
 * and an entry loads no code of a room it does not need.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { suite } from '../support/suite.ts'
import { exec, type Installed, installTarball, linkCompiler, repository, typeCheck } from './tarball.ts'

const test = suite('package', { deadlineMs: 120_000 })
let installed: Installed
test.before(async () => {
  installed = await installTarball()
})
test.after(() => installed?.remove())

const manifest = JSON.parse(readFileSync(join(repository, 'package.json'), 'utf8')) as {
  exports: Record<string, unknown>
  bin: Record<string, string>
}
const subpaths = Object.keys(manifest.exports).filter((path) => path !== './package.json')
const specifier = (subpath: string): string => subpath.replace(/^\./, 'millrace')

/** The rooms each entry may load; what is missing here is forbidden. */
const rooms: Record<string, readonly string[]> = {
  millrace: ['base', 'net', 'protocol', 'client', 'storage', 'streams'],
  'millrace/client': ['base', 'net', 'protocol', 'client'],
  'millrace/protocol': ['base', 'protocol'],
  'millrace/broker': ['base', 'net', 'protocol', 'broker'],
  'millrace/storage': ['base', 'storage'],
  'millrace/codec': ['base', 'streams'],
}

test('brings in no other package', () => {
  const names = readdirSync(join(installed.dir, 'node_modules')).filter((name) => !name.startsWith('.'))
  assert.equal(names, ['millrace'])
})

test('holds what a user needs and nothing of the workshop', () => {
  const strange = installed.files.filter(
    (path) => !/^(dist\/.*\.(js|d\.ts)|package\.json|README\.md|CHANGELOG\.md|LICENSE)$/.test(path),
  )
  assert.equal(strange, [])
  for (const path of ['README.md', 'CHANGELOG.md', 'LICENSE', ...Object.values(manifest.bin)])
    assert.ok(installed.files.includes(path), path)
  console.log(`note: tarball: ${installed.files.length} files, ${(installed.packedBytes / 1024).toFixed(0)} KiB`)
})

for (const subpath of subpaths) {
  const name = specifier(subpath)
  test(`${name} imports, and loads only the rooms it needs`, async () => {
    const allowed = rooms[name]
    assert.ok(allowed, `say in this test which rooms ${name} may load`)
    const loaded = await loadedFiles(name)
    assert.ok(loaded.length > 0)
    const strange = loaded.filter((path) => path.includes('/') && !allowed.includes(path.split('/')[0]!))
    assert.equal(strange, [])
  })
}

test('the millrace command runs', async () => {
  assert.match(
    await exec(join(installed.dir, 'node_modules', '.bin', 'millrace'), ['--help'], installed.dir),
    /usage: millrace/,
  )
})

test('a subpath that is not exported cannot be imported', async () => {
  const code = "import('millrace/dist/base/errors.js').then(() => console.log('loaded'), (e) => console.log(e.code))"
  assert.match(await exec(process.execPath, ['-e', code], installed.dir), /ERR_PACKAGE_PATH_NOT_EXPORTED/)
})

test('every subpath type-checks under nodenext, declarations included', async () => {
  linkCompiler(installed.dir)
  const lines = subpaths.map(
    (path, i) => `import * as m${i} from '${specifier(path)}'\nexport const n${i}: typeof m${i} = m${i}`,
  )
  writeFileSync(join(installed.dir, 'all.ts'), `${lines.join('\n')}\n`)
  await typeCheck(installed.dir, { noEmit: true })
})

/** Files under dist that importing `name` loads, as V8 saw them. */
async function loadedFiles(name: string): Promise<string[]> {
  const coverage = await mkdtemp(join(tmpdir(), 'millrace-loaded-'))
  try {
    await exec(process.execPath, ['--input-type=module', '-e', `await import('${name}')`], installed.dir, {
      NODE_V8_COVERAGE: coverage,
    })
    const reports = readdirSync(coverage).map(
      (file) => JSON.parse(readFileSync(join(coverage, file), 'utf8')) as { result: { url: string }[] },
    )
    const urls = reports.flatMap((report) => report.result.map(({ url }) => url))
    return urls.flatMap((url) => /\/node_modules\/millrace\/dist\/(.*)$/.exec(url)?.[1] ?? [])
  } finally {
    await rm(coverage, { recursive: true })
  }
}

test.run()
