/**
 * Byte for byte against Kafka's own classes: per message and version 20 random messages made by Java are read and written
 * by us, and 20 made by us are read and written by Java, with the values compared through Kafka's JSON converters. What
 * Java agreed to must have the digests that `npm test` checks.
 */
import * as assert from 'uvu/assert'
import { allApis, apisByKey } from '../../src/protocol/api/index.ts'
import { kafkaErrors } from '../../src/protocol/errors.ts'
import { encodeRequest, encodeResponse } from '../../src/protocol/frame.ts'
import { randomInput } from '../protocol/random-message.ts'
import {
  allMessages,
  decode,
  digest,
  encode,
  goldenDigests,
  inputsOf,
  type Message,
  messagesPerVersion,
  writeGoldenDigests,
} from '../protocol/vectors.ts'
import { SeededRandom } from '../sim/random.ts'
import { suite } from '../support/suite.ts'
import { JavaPeer } from './java-peer.ts'
import { kafkaJson } from './kafka-json.ts'
import { offeredVersions } from './kafka-schema.ts'

const release = process.env['MILLRACE_KAFKA'] ?? '4.3'
const test = suite(`conformance of messages with Kafka ${release}`, { deadlineMs: 180_000 })
const seed = Number(process.env['SEED'] ?? 1)
const confirmed = new Map<string, string>()
let java: JavaPeer

test.before(async () => {
  console.log(`seed of Java's messages: ${seed} (SEED=…)`)
  java = await JavaPeer.start(release)
})
test.after(() => java.close())

/** Versions that both know. */
async function commonVersions(message: Message): Promise<number[]> {
  const theirs = await offeredVersions(java, message.name)
  const versions: number[] = []
  for (let v = Math.max(message.minVersion, theirs.min); v <= Math.min(message.maxVersion, theirs.max); v++) {
    versions.push(v)
  }
  return versions
}

for (const message of allMessages) {
  test(`${message.name}: Java → millrace → the same bytes`, async () => {
    for (const version of await commonVersions(message)) {
      const asked = Array.from({ length: messagesPerVersion }, (_, i) =>
        java.message(`make ${message.name} ${version} ${seed * 1_000_003 + version * 1_000 + i}`),
      )
      for (const { bytes, json } of await Promise.all(asked)) {
        const output = decode(message, version, bytes)
        assert.equal(kafkaJson(message.codec.fields, output, version), json, `${message.name} v${version}: values`)
        const again = encode(message, version, output)
        assert.is(again.toString('hex'), bytes.toString('hex'), `${message.name} v${version}: bytes`)
      }
    }
  })

  test(`${message.name}: millrace → Java → the same bytes`, async () => {
    for (const version of await commonVersions(message)) {
      const ours = inputsOf(message, version).map((input) => encode(message, version, input))
      const asked = ours.map((bytes) => java.message(`read ${message.name} ${version} ${bytes.toString('hex')}`))
      for (const [i, { bytes, json }] of (await Promise.all(asked)).entries()) {
        const output = decode(message, version, ours[i]!)
        assert.is(bytes.toString('hex'), ours[i]!.toString('hex'), `${message.name} v${version}: bytes`)
        assert.equal(json, kafkaJson(message.codec.fields, output, version), `${message.name} v${version}: values`)
      }
      confirmed.set(`${message.name} v${version}`, digest(ours))
    }
  })
}

test('headers of requests and responses', async () => {
  const random = new SeededRandom(seed)
  for (const api of allApis) {
    const theirs = await offeredVersions(java, `${api.name}Request`)
    for (
      let version = Math.max(api.minVersion, theirs.min);
      version <= Math.min(api.maxVersion, theirs.max);
      version++
    ) {
      const correlationId = random.uint32() | 0
      const clientId = random.pick([null, '', 'client', 'ünï-çødé', 'x'.repeat(200)])
      const requestInput = randomInput(api.request.fields, version, random) as never
      const request = Buffer.concat(encodeRequest(api, version, correlationId, clientId, requestInput))
      const body = encode(message(`${api.name}Request`), version, requestInput)
      const client = Buffer.from(clientId ?? '').toString('base64') // Java makes no difference between null and empty
      assert.is(
        await java.ask(`request ${request.toString('hex')}`),
        `${api.key} ${version} ${correlationId} ${client} ${request.length - body.length}`,
        `${api.name} v${version}`,
      )
      const responseInput = randomInput(api.response.fields, version, random) as never
      const response = Buffer.concat(encodeResponse(api, version, correlationId, responseInput))
      const rest = encode(message(`${api.name}Response`), version, responseInput)
      assert.is(
        await java.ask(`response ${api.key} ${version} ${response.toString('hex')}`),
        `${correlationId} ${response.length - rest.length}`,
        `${api.name} v${version}`,
      )
    }
  }
  assert.is(apisByKey.size, allApis.length)
})

function message(name: string): Message {
  const found = allMessages.find((candidate) => candidate.name === name)
  if (found === undefined) throw new Error(`no message ${name}`)
  return found
}

test('error codes', async () => {
  const theirs = (await java.ask('errors')).split(' ').map((entry) => entry.split(':') as [string, string, string])
  const known = new Map(kafkaErrors.map((info) => [info.code, info]))
  for (const [code, name, retriable] of theirs) {
    const ours = known.get(Number(code))
    assert.is(ours?.name, name, `code ${code}`)
    assert.is(String(ours?.retriable), retriable, name)
  }
  if (release === '4.3') assert.is(theirs.length, kafkaErrors.length)
})

test('what Java agreed to has the committed digests', () => {
  if (process.env['MILLRACE_UPDATE_GOLDEN'] === '1') {
    assert.is(release, '4.3', 'golden digests are written against the newest release')
    writeGoldenDigests(confirmed)
  }
  const golden = goldenDigests()
  assert.ok(confirmed.size > 150, `${confirmed.size} messages and versions`)
  for (const [name, sum] of confirmed) assert.is(sum, golden.get(name), name)
  if (release === '4.3') assert.is(confirmed.size, golden.size)
})

test.run()
