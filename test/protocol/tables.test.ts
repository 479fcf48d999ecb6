/** Errors, versions, uuids and the payloads of group members: the small tables around the messages. */
import * as assert from 'uvu/assert'
import {
  allApis,
  apisByKey,
  BrokerError,
  decodeAssignment,
  decodeSubscription,
  encodeAssignment,
  encodeSubscription,
  errorCodes,
  fetch,
  heartbeat,
  initProducerId,
  isUuid,
  kafkaError,
  kafkaErrors,
  metadata,
  NAME_BASED_PINS,
  negotiate,
  ProtocolError,
  pickVersion,
  produce,
  uuidFromBase64,
  uuidToBase64,
  VersionError,
  ZERO_UUID,
} from '../../src/protocol/index.ts'
import { suite } from '../support/suite.ts'

const test = suite('protocol/tables')

test('errors: every code once, names as constants, recovery decides retriable', () => {
  const codes = kafkaErrors.map((info) => info.code)
  assert.equal(
    codes,
    Array.from({ length: 135 }, (_, i) => i - 1),
  )
  assert.is(new Set(kafkaErrors.map((info) => info.name)).size, codes.length)
  assert.is(errorCodes.NOT_LEADER_OR_FOLLOWER, 6)
  for (const info of kafkaErrors) {
    assert.is(kafkaError(info.code), info)
    assert.is(errorCodes[info.name], info.code)
    assert.match(info.text, /^[A-Z].*\.$/)
    const retried = ['retry', 'refreshMetadata', 'refreshCoordinator'].includes(info.recovery)
    assert.is(info.retriable, retried, info.name)
  }
  assert.is(kafkaError(16).recovery, 'refreshCoordinator')
  assert.is(kafkaError(27).recovery, 'rejoin')
  assert.is(kafkaError(82).recovery, 'fenced')
})

test('errors: a code from the future keeps its number', () => {
  const error = new BrokerError(999, 'commit of group g')
  assert.is(error.code, 'UNKNOWN_SERVER_ERROR')
  assert.is(error.brokerCode, 999)
  assert.is(error.retriable, false)
  assert.match(error.message, /^commit of group g: UNKNOWN_SERVER_ERROR: .*999/)
})

test('errors: BrokerError says subject, name and the words of the broker', () => {
  const cause = new Error('why')
  const error = new BrokerError(6, 'produce to t-0', 'moved to 2', { cause })
  assert.is(error.message, 'produce to t-0: NOT_LEADER_OR_FOLLOWER: moved to 2')
  assert.is(error.code, 'NOT_LEADER_OR_FOLLOWER')
  assert.is(error.recovery, 'refreshMetadata')
  assert.ok(error.retriable)
  assert.is(error.cause, cause)
  assert.match(new BrokerError(6, 'x', null).message, /is not the leader/)
})

const range = (apiKey: number, minVersion: number, maxVersion: number) => ({ apiKey, minVersion, maxVersion })

test('versions: intersection, limits, pins', () => {
  const ranges = [range(0, 0, 13), range(1, 4, 18), range(3, 0, 99), range(12, 9, 11), range(500, 0, 1)]
  const table = negotiate(allApis, ranges, new Map([['Fetch', 15]]), undefined, NAME_BASED_PINS)
  assert.equal(table.get(produce.key), { min: 3, max: 12 }, 'Produce: our floor, the pin')
  assert.equal(table.get(fetch.key), { min: 4, max: 12 }, 'Fetch: the lowest of all limits')
  assert.equal(table.get(metadata.key), { min: 0, max: 13 }, 'Metadata: our maximum')
  assert.not(table.has(heartbeat.key), 'ranges that do not meet')
  assert.not(table.has(500), 'an API nobody here knows')
  assert.not(table.has(initProducerId.key), 'an API the broker did not announce')
  assert.is(pickVersion(table, metadata), 13)
  assert.is(pickVersion(table, metadata, { max: 12 }), 12)
  assert.is(pickVersion(table, metadata, { min: 13 }), 13)
  const refused: [() => unknown, RegExp][] = [
    [() => pickVersion(table, heartbeat), /no version of Heartbeat .*0 to 4/],
    [() => pickVersion(table, metadata, { min: 14 }), /Metadata is usable in versions 0 to 13 .* needs 14 to 13/],
    [() => pickVersion(table, produce, { max: 2 }), /usable in versions 3 to 12/],
  ]
  for (const [call, says] of refused) {
    assert.throws(call, (error: unknown) => error instanceof VersionError && says.test(error.message), String(says))
  }
})

test('versions: a limit below everything leaves the API out; without an announcement the lowest versions serve', () => {
  assert.not(negotiate(allApis, [range(1, 4, 18)], new Map([['Fetch', 3]])).has(fetch.key))
  const blind = negotiate(allApis, undefined)
  assert.is(blind.size, allApis.length)
  assert.is(pickVersion(blind, produce), 3)
})

test('apis: 17, keys and names unique, frozen', () => {
  assert.is(allApis.length, 17)
  assert.is(apisByKey.size, 17)
  assert.is(new Set(allApis.map((api) => api.name)).size, 17)
  for (const api of allApis) {
    assert.is(apisByKey.get(api.key), api)
    assert.ok(Object.isFrozen(api))
  }
})

test('uuids: two forms', () => {
  assert.is(uuidToBase64(ZERO_UUID), 'AAAAAAAAAAAAAAAAAAAAAA')
  const uuid = '00112233445566778899aabbccddeeff'
  assert.is(uuidFromBase64(uuidToBase64(uuid)), uuid)
  assert.is(uuidFromBase64('too short'), undefined)
  assert.is(uuidFromBase64('AAAAAAAAAAAAAAAAAAAAA!'), undefined)
  assert.ok(isUuid(uuid))
  for (const wrong of [uuid.toUpperCase(), uuid.slice(1), `${uuid}0`, '']) assert.not(isUuid(wrong), wrong)
})

test('group members: subscriptions of every version, newer ones by their prefix', () => {
  const input = {
    topics: ['a', '__proto__'],
    userData: Buffer.from('u'),
    ownedPartitions: [{ topic: 'a', partitions: [0, 2] }],
    generationId: 4,
    rackId: 'r',
  }
  const empty = { ...input, ownedPartitions: [], generationId: -1, rackId: null }
  assert.equal(decodeSubscription(encodeSubscription(input)), input)
  assert.equal(decodeSubscription(encodeSubscription(input, 2)), { ...input, rackId: null })
  assert.equal(decodeSubscription(encodeSubscription(input, 1)), { ...input, rackId: null, generationId: -1 })
  assert.equal(decodeSubscription(encodeSubscription(input, 0)), empty)
  assert.equal(decodeSubscription(encodeSubscription({ topics: [] }, 0)), { ...empty, topics: [], userData: null })
  const future = encodeSubscription(input)
  future.writeInt16BE(9)
  assert.equal(decodeSubscription(Buffer.concat([future, Buffer.from('more')])), input)
})

test('group members: assignments', () => {
  const input = { assignedPartitions: [{ topic: 't', partitions: [1] }], userData: Buffer.from('lag') }
  for (const version of [0, 1, 2, 3]) assert.equal(decodeAssignment(encodeAssignment(input, version)), input)
  assert.equal(decodeAssignment(Buffer.alloc(0)), { assignedPartitions: [], userData: null })
  assert.is(
    encodeAssignment({ assignedPartitions: [{ topic: 't', partitions: [1] }] }, 0).toString('hex'),
    '0000 00000001 000174 00000001 00000001 ffffffff'.replaceAll(' ', ''),
  )
})

test('group members: a broken payload is a ProtocolError', () => {
  const whole = encodeSubscription({ topics: ['topic'] })
  for (let length = 0; length < whole.length; length++) {
    assert.throws(
      () => decodeSubscription(whole.subarray(0, length)),
      (e: unknown) => e instanceof ProtocolError,
    )
  }
  for (const decode of [decodeSubscription, decodeAssignment]) {
    assert.throws(() => decode(Buffer.from('ffff0000', 'hex')), /version -1/)
    assert.throws(() => decode(Buffer.from('00007fffffff', 'hex')), /2147483647 elements/)
  }
})

test.run()
