/** `millrace store`: what the commands take, and what they say to what they do not take. */
import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { republishArguments } from '../../src/cli/store-republish.ts'
import { logEngine } from '../../src/storage/index.ts'
import { suite } from '../support/suite.ts'

const test = suite('cli: store')
const main = join(import.meta.dirname, '..', '..', 'src', 'cli', 'main.js')
const root = mkdtempSync(join(tmpdir(), 'millrace-cli-'))
const dir = join(root, 'state')
const tableDir = join(dir, 'g', 't')
test.after(() => rmSync(root, { recursive: true, force: true }))
test.before(async () => {
  const engine = logEngine({ dir })
  for (const partition of [10, 2]) {
    const store = await engine.open({ group: 'g', table: 't', partition })
    const key = Buffer.from('key')
    const batch = store.writer()
    batch.put(0, key, 0, 3, key, 0, 3)
    batch.commit({ position: 5, state: Buffer.from('1;an-id') })
  }
  await engine.close()
})

function millrace(...args: string[]): Promise<{ code: number; output: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [main, 'store', ...args], (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code ?? 1), output: stdout + stderr })
    })
  })
}

const refused: readonly { args: readonly string[]; code: number; says: RegExp }[] = [
  { args: [], code: 0, says: /usage: millrace store <verb> DIR[\s\S]*republish[\s\S]*discard/ },
  { args: ['--help'], code: 0, says: /usage: millrace store <verb> DIR/ },
  { args: ['republish', '--help'], code: 0, says: /usage: millrace store republish DIR --brokers/ },
  { args: ['discard', '-h'], code: 0, says: /usage: millrace store discard DIR/ },
  { args: ['burn'], code: 2, says: /unknown verb 'burn'[\s\S]*verbs:/ },
  { args: ['discard'], code: 2, says: /DIR is missing/ },
  { args: ['discard', 'a', 'b'], code: 2, says: /only one DIR, not also 'b'/ },
  { args: ['discard', 'a', '--no'], code: 2, says: /--no/ },
  { args: ['discard', join(root, 'nowhere')], code: 1, says: /nowhere does not exist/ },
  { args: ['discard', root], code: 1, says: /holds no table: name <dir>\/<group>\/<table> or / },
  { args: ['republish', tableDir], code: 2, says: /--brokers is missing/ },
  {
    args: ['republish', tableDir, '--brokers', 'a:1', '--partition', 'one'],
    code: 2,
    says: /--partition must be a whole number, not 'one'/,
  },
  {
    args: ['republish', tableDir, '--brokers', 'a:1', '--partition', '1'],
    code: 2,
    says: /--partition needs the DIR of one partition/,
  },
]
for (const { args, code, says } of refused) {
  test(`${['millrace store', ...args].join(' ').replaceAll(root, '')}: ${code}`, async () => {
    const found = await millrace(...args)
    assert.is(found.code, code, found.output)
    assert.match(found.output, says)
  })
}

test('a table is all of its partitions, in their order', () => {
  const given = republishArguments([tableDir, '--brokers', 'a:1,b:2', '--topic', 'other'])!
  assert.equal(
    given.places.map(({ name, group, topic, partition }) => [name, group, topic, partition]),
    [
      ['g/t/2', 'g', 't', 2],
      ['g/t/10', 'g', 't', 10],
    ],
  )
  assert.equal([given.brokers, given.topic, given.partition, given.yes], ['a:1,b:2', 'other', undefined, false])
})

test('discard says what it would remove, refuses what is in use, and removes what is damaged', async () => {
  const asked = await millrace('discard', tableDir)
  assert.is(asked.code, 1)
  assert.match(asked.output, /^g\/t\/2: about 1 entries, 6 bytes; .*to offset 5 \(topic id an-id\)$/m)
  assert.match(asked.output, /nothing was removed: add --yes/)

  const engine = logEngine({ dir })
  await engine.open({ group: 'g', table: 't', partition: 10 })
  const used = await millrace('discard', tableDir, '--yes')
  assert.is(used.code, 1)
  assert.match(used.output, /locked/)
  await engine.close()

  writeFileSync(join(tableDir, '2', 'CURRENT'), 'nonsense')
  mkdirSync(join(tableDir, '10.old'))
  const done = await millrace('discard', tableDir, '--yes')
  assert.is(done.code, 0, done.output)
  assert.match(done.output, /g\/t\/2: cannot be read \([\s\S]*a rebuild keeps the table before it aside/)
  assert.match(done.output, /g\/t\/10: removed/)
  assert.is((await millrace('discard', tableDir)).code, 1)
})

test.run()
