/**
 * Record batches between ours and Kafka's own classes: Java reads what BatchBuilder wrote in every codec, and the
 * committed vectors are still what Java writes. Needs a JDK and Maven, no broker.
 */
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { BufferPool } from '../../src/base/buffer-pool.ts'
import type { CompressionName } from '../../src/protocol/compression/codec.ts'
import { zstdAvailable } from '../../src/protocol/compression/zstd.ts'
import { BatchBuilder } from '../../src/protocol/record-batch.ts'
import type { HeaderInput } from '../../src/protocol/record-format.ts'
import { BatchView } from '../../src/protocol/record-view.ts'
import { digest } from '../protocol/batches.ts'
import type { GoldenBatch } from '../protocol/golden.ts'
import { SeededRandom } from '../sim/random.ts'
import { kafkaJars } from '../support/kafka-jars.ts'
import { suite } from '../support/suite.ts'

const test = suite('record batches with Java', { deadlineMs: 240_000 })
const seed = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 32))
console.log(`record batches with Java: again with SEED=${seed}`)

const sources = join(import.meta.dirname, '../../../test')

/** What the Java program prints for `mode` with `input` on its standard input. */
async function java(mode: 'read' | 'write', input: string): Promise<string> {
  const jars = await kafkaJars('4.3')
  const program = join(sources, 'kafka/java/RecordVectors.java')
  const child = spawn('java', ['-cp', join(jars, '*'), program, mode], { stdio: ['pipe', 'pipe', 'pipe'] })
  let output = ''
  let errors = ''
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (output += chunk))
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (errors += chunk))
  child.stdin.on('error', () => {}) // a Java that died says why on stderr
  child.stdin.end(input)
  const code = await new Promise<number | null>((resolve, reject) => child.on('error', reject).on('close', resolve))
  if (code !== 0) throw new Error(`java ended with ${code}: ${errors.slice(-2000)}`)
  return output
}

function batches(): Buffer[] {
  const random = new SeededRandom(seed)
  const codecs: CompressionName[] = ['none', 'gzip', 'snappy', 'lz4']
  if (zstdAvailable) codecs.push('zstd')
  const pool = new BufferPool({ poison: true })
  const words = Array.from({ length: 50 }, () => random.bytes(random.between(1, 30)).toString('base64'))
  return codecs.flatMap((compression) =>
    [1, 3, 30, 500, 5000].map((count) => {
      const builder = new BatchBuilder(pool, 1 << 20)
      for (let i = 0; i < count; i++) {
        const key = random.chance(0.1) ? null : random.pick(words)
        const value = random.chance(0.1)
          ? null
          : Array.from({ length: random.int(20) }, () => random.pick(words)).join('ü')
        const headers: HeaderInput[] | undefined = random.chance(0.9)
          ? undefined
          : [
              { key: random.pick(words), value: random.bytes(random.int(20)) },
              { key: '🙂', value: null },
            ]
        const timestamp = 1_790_000_000_000 + random.int(10 ** random.int(12))
        if (!builder.append(timestamp, key, value, headers)) break
      }
      const transactional = random.chance(0.5)
      const bytes = Buffer.from(
        builder.close({
          compression,
          producerId: random.int(2 ** 40),
          producerEpoch: 3,
          baseSequence: i32(random),
          transactional,
        }),
      )
      builder.release()
      return bytes
    }),
  )
}

function i32(random: SeededRandom): number {
  return random.int(2 ** 31)
}

test('Java reads what ours writes, in every codec', async () => {
  const ours = batches()
  const lines = (await java('read', ours.map((bytes) => `${bytes.toString('base64')}\n`).join(''))).trim().split('\n')
  assert.is(lines.length, ours.length)
  for (const [i, bytes] of ours.entries()) {
    const read = JSON.parse(lines[i]!) as GoldenBatch
    const view = new BatchView().set(bytes, 0, bytes.length)
    const context = `seed ${seed}, batch ${i} (${view.compression})`
    assert.is(read.compression, view.compression, context)
    assert.is(read.count, view.count, context)
    assert.is(read.producerId, view.producerId, context)
    assert.is(read.baseSequence, view.baseSequence, context)
    assert.is(read.isTransactional, view.isTransactional, context)
    assert.is(read.maxTimestamp, String(view.maxTimestamp), context)
    assert.is(read.sha256, digest(view.cursor()), context)
  }
})

test('the committed vectors are what Java writes', async () => {
  assert.is(await java('write', ''), readFileSync(join(sources, 'golden/records/java.json'), 'utf8'))
})

test.run()
