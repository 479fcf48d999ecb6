/**
 * docs/storage-format.md is true: its examples are bytes of the golden files, its test values are what the engine computes,
 * and a reader written from it gives what the engine gives, for stores of all kinds, whole, cut off and damaged.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { LogEngine, type LogStore, Span } from '../../../src/storage/index.ts'
import { hashOf } from '../../../src/storage/log/key-hash.ts'
import { wordCheck as engineCheck } from '../../../src/storage/log/record.ts'
import { SeededRandom } from '../../sim/random.ts'
import { suite } from '../../support/suite.ts'
import { StillScheduler } from '../support/driver.ts'
import { SimFs } from '../support/sim-fs.ts'
import { dir, directory, diskWith, engineOn, type Files, filesOf, smallStore } from '../support/small-store.ts'
import { FormatReader, keyHash, NewerVersion, wordCheck } from './format-reader.ts'
import { goldenEntries, goldenId } from './golden/contents.ts'
import { makeUniverse, type ModelKey, someBytes } from './model-keys.ts'

const test = suite('log engine: the document of the format')
// Tests run from the build directory, which holds neither.
const root = join(import.meta.dirname, '../../../..')
const text = readFileSync(join(root, 'docs/storage-format.md'), 'utf8')
const goldenDir = join(root, 'test/storage/log/golden/v1')
const golden: Files = new Map(readdirSync(goldenDir).map((name) => [name, readFileSync(join(goldenDir, name))]))

test('the bytes of the examples are those of the golden files, all of them', () => {
  const examples = [...text.matchAll(/^```hex (\S+)\n([^`]*)^```$/gm)]
  assert.equal(
    examples.map(([, name]) => name),
    ['0000000007.log', '0000000006.tbl'],
  )
  for (const [, name = '', lines = ''] of examples) {
    const bytes: string[] = []
    for (const line of lines.trimEnd().split('\n')) {
      const [, offset = '', hex = ''] =
        /^([0-9a-f]{4}) {2}([0-9a-f]{2}(?: [0-9a-f]{2}){0,15})(?: {2}|$)/.exec(line) ?? []
      assert.is(Number.parseInt(offset, 16), bytes.length, `${name}: ${line}`)
      bytes.push(...hex.split(' '))
    }
    assert.is(bytes.join(''), golden.get(name)!.toString('hex'), name)
  }
  assert.ok(text.includes(`\`\`\`text\n${golden.get('CURRENT')}\`\`\``), 'the example of CURRENT')
})

test('the test values of the hash and of the word check', () => {
  const hashes = [...text.matchAll(/^\| (.+) \| (-?\d+) \| (\d+) \| 0x([0-9a-f]{8}) \|$/gm)]
  assert.is(hashes.length, 11)
  for (const [line, name = '', seed, space, hex = ''] of hashes) {
    const key = Buffer.from(name === '(empty)' ? '' : name)
    const expected = Number.parseInt(hex, 16)
    assert.is(keyHash(Number(seed), Number(space), key), expected, line)
    assert.is(hashOf(Number(seed), Number(space), key, 0, key.length) >>> 0, expected, line)
  }
  const checks = [...text.matchAll(/^\| ([\d, ]+) \| (0|0x[0-9a-f]+) \| 0x([0-9a-f]{8}) \|$/gm)]
  assert.is(checks.length, 2)
  for (const [line, list = '', own, hex = ''] of checks) {
    const words = Int32Array.from(list.split(', '), Number)
    const expected = Number.parseInt(hex, 16)
    assert.is(wordCheck(Buffer.from(words.buffer), Number(own)), expected, line)
    assert.is(engineCheck(words, 0, words.length, Number(own)) >>> 0, expected, line)
  }
})

test('the golden store', () => {
  const reader = new FormatReader(golden)
  const expected = goldenEntries()
  assert.equal(reader.checkpoint, { position: 500, state: Buffer.from('last') })
  assert.equal(reader.ends, ['end', 'end'])
  const entries = reader.entries()
  assert.is(entries.length, expected.size)
  for (const { space, key, value } of entries) {
    const id = goldenId(space, key)
    assert.is(value!.toString('hex'), expected.get(id)?.toString('hex'), id)
    assert.ok(reader.get(space, key)?.equals(value!), id)
  }
  for (const key of ['user-00399', 'user-00008', 'never there']) assert.is(reader.get(0, Buffer.from(key)), undefined)
})

/** What the engine says of files: checkpoint, entries in order, how its recovery ended; or that they are damaged. */
async function engineSays(files: Files, absent: readonly ModelKey[] = []): Promise<string> {
  const ends: string[] = []
  const engine = engineOn(diskWith(files), (event) => {
    if (event.kind !== 'recovered') return
    const { file, reason, droppedBytes } = event as unknown as { file: string; reason: string; droppedBytes: number }
    if (file.endsWith('.log')) ends.push(`${reason}: ${droppedBytes} bytes`)
  })
  try {
    const store = await engine.open(directory)
    const lines = [checkpointText(store.checkpoint)]
    for (let space = 0; space < 16; space++) {
      for (const [key, value] of store.entries({ space })) lines.push(lineOf(space, key, value))
    }
    const out = new Span()
    for (const { space, key } of absent) assert.not.ok(store.getSync(space, key, 0, key.length, out))
    // Parts of tables that a scan does not need: the reader checks all of them.
    if ((await store.verify()).faults.length > 0) return 'ERR_STORE_CORRUPT'
    return [...lines, ...ends].join('\n')
  } catch (error) {
    return `${(error as { code?: string }).code}`
  } finally {
    await engine.close()
  }
}

/** The same by the reader; every key is looked up, too. */
function readerSays(files: Files, absent: readonly ModelKey[] = []): string {
  try {
    const reader = new FormatReader(files)
    const lines = [checkpointText(reader.checkpoint)]
    for (const { space, key, value } of reader.entries()) {
      lines.push(lineOf(space, key, value!))
      if (!reader.get(space, key)?.equals(value!)) lines.push('the lookup gives another value')
    }
    for (const { space, key } of absent) assert.is(reader.get(space, key), undefined)
    const stop = reader.ends.find((end) => end !== 'end')
    if (reader.unusedBytes > 0) lines.push(`${stop}: ${reader.unusedBytes} bytes`)
    return lines.join('\n')
  } catch (error) {
    return error instanceof NewerVersion ? 'ERR_STORE_VERSION' : 'ERR_STORE_CORRUPT'
  }
}

function checkpointText(checkpoint: { position: number; state: Buffer } | undefined): string {
  return checkpoint === undefined ? 'no checkpoint' : `${checkpoint.position} ${checkpoint.state.toString('hex')}`
}

function lineOf(space: number, key: Buffer, value: Buffer): string {
  const shown = value.length > 64 ? `${value.length} bytes, hash ${keyHash(0, 0, value)}` : value.toString('hex')
  return `${space} ${key.toString('hex')}: ${shown}`
}

/** A value: mostly small, sometimes above the limit of word checks, above a span, above what is written at once. */
function randomValue(random: SeededRandom): Buffer {
  const dice = random.int(100)
  if (dice < 80) return someBytes(random, random.int(200))
  if (dice < 95) return someBytes(random, random.between(1000, 9000))
  return someBytes(random, random.between(30_000, 300_000))
}

/** Puts and deletes by `target`: a batch or a load. */
function change(
  target: ReturnType<LogStore['bulkLoad' | 'writer']>,
  random: SeededRandom,
  keys: readonly ModelKey[],
): void {
  for (let i = random.int(60); i >= 0; i--) {
    const { space, key } = random.pick(keys)
    const value = randomValue(random)
    if (random.chance(0.25)) target.delete(space, key, 0, key.length)
    else target.put(space, key, 0, key.length, value, 0, value.length)
  }
}

/** The files of a store that has lived a random life, and died. */
async function randomStore(random: SeededRandom, keys: readonly ModelKey[]): Promise<Files> {
  const fs = new SimFs()
  const writeBufferBytes = random.pick([4096, 20_000, 2 ** 20])
  const scheduler = new StillScheduler()
  const engine = new LogEngine({ dir: '/data', fs, random, scheduler, writeBufferBytes, sync: 'never' })
  const store = await engine.open(directory)
  for (let step = random.between(3, 25); step > 0; step--) {
    const checkpoint = { position: random.int(2 ** 50), state: random.bytes(random.pick([0, 1, 5, 1024])) }
    const dice = random.int(100)
    if (dice < 70) {
      change(store.writer(), random, keys)
      store.writer().commit(...(random.chance(0.5) ? [checkpoint] : []))
    } else if (dice < 80) {
      const load = store.bulkLoad()
      change(load, random, keys)
      load.finish(checkpoint)
    } else if (dice < 92) await store.flush()
    else if (dice < 97) await store.compact()
    else store.clear()
  }
  const files = filesOf(fs.kill())
  await engine.close()
  return files
}

const seed = Math.floor(Math.random() * 2 ** 32)
console.log(`seed ${seed}`)

for (const names of [['short', 'notText'], ['numbered'], ['longPrefix', 'zerosAndOnes'], ['huge', 'astral']] as const) {
  test(`stores of random lives, whole and damaged: keys ${names.join(' and ')}`, async () => {
    const random = new SeededRandom(seed)
    const { keys, absent } = makeUniverse(random, names, [0, 0, 1, 7, 15])
    for (let round = 0; round < 3; round++) {
      const files = await randomStore(random, keys)
      const where = `seed ${seed}, round ${round}`
      const whole = await engineSays(files, absent)
      assert.not.match(whole, /^ERR/, where)
      assert.is(readerSays(files, absent), whole, where)
      for (let i = 0; i < 6; i++) {
        const name = random.pick([...files.keys()].filter((one) => one !== 'LOCK'))
        const damaged = new Map([...files, [name, damage(random, files.get(name)!)]])
        assert.is(readerSays(damaged), await engineSays(damaged), `${where}, ${name} damaged`)
      }
    }
  })
}

/** The content cut off, or with a bit flipped. */
function damage(random: SeededRandom, content: Buffer): Buffer {
  if (random.chance(0.5)) return content.subarray(0, random.int(content.length))
  const changed = Buffer.from(content)
  changed[random.int(content.length)]! ^= 1 << random.int(8)
  return changed
}

test('every log and manifest of a small store, cut off at every byte', async () => {
  const { files } = await smallStore()
  for (const [name, content] of files) {
    if (name.endsWith('.tbl') || name === 'LOCK') continue
    for (let size = 0; size < content.length; size++) {
      const cut = new Map([...files, [name, content.subarray(0, size)]])
      assert.is(readerSays(cut), await engineSays(cut), `${name} cut off at ${size}`)
    }
    const longer = new Map([...files, [name, Buffer.concat([content, Buffer.alloc(50)])]])
    assert.is(readerSays(longer), await engineSays(longer), `${name} with zeros behind it`)
  }
})

test('a record that is larger than a table may be', async () => {
  const fs = new SimFs()
  const engine = engineOn(fs)
  const store = await engine.open(directory)
  const value = Buffer.alloc(2 ** 25 + 5, 'large')
  const before = Buffer.from('a')
  const key = Buffer.from('large')
  store.writer().put(3, before, 0, 1, before, 0, 1)
  store.writer().put(3, key, 0, key.length, value, 0, value.length)
  store.writer().commit()
  await store.flush()
  const reader = new FormatReader(filesOf(fs.kill()))
  assert.is(fs.readdirSync(dir).filter((name) => name.endsWith('.tbl')).length, 2)
  assert.is(reader.entries().length, 2)
  assert.ok(reader.get(3, key)?.equals(value))
  assert.ok(reader.get(3, before)?.equals(before))
  await engine.close()
})

test.run()
