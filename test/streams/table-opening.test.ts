/** What becomes of a store that is opened: the table of cases, and the text in which a store keeps what they need. */
import * as assert from 'uvu/assert'
import { decodeStoreState, encodeStoreState, sameTopic, type StoreState } from '../../src/streams/store-state.ts'
import {
  decideOpening,
  needsDeleteRetention,
  needsEpochEnd,
  type Opening,
  type OpeningFacts,
} from '../../src/streams/table-opening.ts'
import { suite } from '../support/suite.ts'

const test = suite('table opening')
const id = 'a'.repeat(32)
const other = 'b'.repeat(32)
const day = 86_400_000
const now = 1_800_000_000_000

/** A store at offset 50 of a log that goes from 0 to 100, all in leader epoch 3, up to date a minute ago. */
function facts(
  changes: Partial<Omit<OpeningFacts, 'checkpoint'>> & { position?: number; state?: Partial<StoreState> | null },
): OpeningFacts {
  const { position = 50, state, ...rest } = changes
  const known = { topicId: id, leaderEpoch: 3, wallMs: now - 60_000, ...state }
  return {
    checkpoint: { position, state: state === null ? undefined : known },
    hasEntries: true,
    topicId: id,
    earliest: 0,
    end: 100,
    epochEnd: 100,
    deleteRetentionMs: day,
    nowMs: now,
    ...rest,
  }
}

const cases: readonly { name: string; facts: OpeningFacts; kind: Opening['kind']; from?: number; says?: RegExp }[] = [
  { name: 'inside the log', facts: facts({}), kind: 'resume', from: 50 },
  { name: 'at its end', facts: facts({ position: 100 }), kind: 'resume', from: 100 },
  { name: 'at its beginning', facts: facts({ position: 20, earliest: 20 }), kind: 'resume', from: 20 },
  {
    name: 'at position 0 of an empty log',
    facts: facts({ position: 0, end: 0, epochEnd: -1 }),
    kind: 'resume',
    from: 0,
  },
  {
    name: 'at the end of a log that was emptied, whose epochs are forgotten',
    facts: facts({ position: 100, earliest: 100, epochEnd: -1 }),
    kind: 'resume',
    from: 100,
  },
  { name: 'the epoch was not asked for', facts: facts({ epochEnd: undefined }), kind: 'resume', from: 50 },
  { name: 'its epoch ends exactly there', facts: facts({ epochEnd: 50 }), kind: 'resume', from: 50 },
  { name: 'a cluster without topic ids', facts: facts({ topicId: '0'.repeat(32) }), kind: 'resume', from: 50 },
  { name: 'a store without a topic id', facts: facts({ state: { topicId: '' } }), kind: 'resume', from: 50 },
  { name: 'a clock of unknown time', facts: facts({ state: { wallMs: -1 } }), kind: 'resume', from: 50 },
  { name: 'just young enough', facts: facts({ state: { wallMs: now - day } }), kind: 'resume', from: 50 },
  {
    name: 'too old, but nothing came after it',
    facts: facts({ position: 100, state: { wallMs: now - 9 * day } }),
    kind: 'resume',
    from: 100,
  },

  { name: 'no checkpoint', facts: { ...facts({}), checkpoint: undefined, hasEntries: false }, kind: 'fill', from: 0 },
  {
    name: 'no checkpoint but entries: a load that was broken off',
    facts: { ...facts({ earliest: 7 }), checkpoint: undefined },
    kind: 'fill',
    from: 7,
  },
  {
    name: 'an empty store of another topic',
    facts: facts({ topicId: other, hasEntries: false, earliest: 3 }),
    kind: 'fill',
    from: 3,
  },
  { name: 'an empty store beyond the end', facts: facts({ position: 200, hasEntries: false }), kind: 'fill', from: 0 },

  {
    name: 'another topic that is longer',
    facts: facts({ topicId: other }),
    kind: 'rebuild',
    from: 0,
    says: /deleted and made anew/,
  },
  {
    name: 'below the beginning of the log',
    facts: facts({ earliest: 60 }),
    kind: 'rebuild',
    from: 60,
    says: /begins at 60.*after 50/,
  },
  {
    name: 'older than deletions are kept',
    facts: facts({ state: { wallMs: now - 2 * day } }),
    kind: 'rebuild',
    from: 0,
    says: /up to date 48 h ago.*after 24 h.*delete\.retention\.ms/,
  },
  {
    name: 'a clock that was set back by days',
    facts: facts({ state: { wallMs: now + 2 * day } }),
    kind: 'rebuild',
    from: 0,
    says: /delete\.retention\.ms/,
  },
  {
    name: 'its leader epoch ends before it',
    facts: facts({ epochEnd: 49 }),
    kind: 'rebuild',
    from: 0,
    says: /leader epoch 3.*ends at 49/,
  },
  {
    name: 'its leader epoch ends before it, at the end of the log',
    facts: facts({ position: 100, epochEnd: 49 }),
    kind: 'rebuild',
    from: 0,
    says: /leader epoch 3/,
  },
  {
    name: 'its leader epoch is not in the log',
    facts: facts({ epochEnd: -1 }),
    kind: 'rebuild',
    from: 0,
    says: /leader epoch 3.*does not have it/,
  },
  {
    name: 'a state of a later version',
    facts: facts({ state: null }),
    kind: 'rebuild',
    from: 0,
    says: /another version/,
  },

  { name: 'beyond the end', facts: facts({ position: 101 }), kind: 'diverged', says: /lost its end/ },
  { name: 'another topic that is shorter', facts: facts({ topicId: other, end: 49 }), kind: 'diverged', says: /anew/ },
  { name: 'another topic that is empty', facts: facts({ topicId: other, end: 0 }), kind: 'diverged', says: /anew/ },
  {
    name: 'a longer log that was emptied',
    facts: facts({ earliest: 100 }),
    kind: 'diverged',
    says: /begins at 100/,
  },
  {
    name: 'a state of a later version, beyond the end',
    facts: facts({ position: 101, state: null }),
    kind: 'diverged',
    says: /another version/,
  },
]

for (const { name, facts: given, kind, from, says } of cases) {
  test(`${name}: ${kind}`, () => {
    const opening = decideOpening(given)
    assert.is(opening.kind, kind)
    if ('from' in opening) assert.is(opening.from, from)
    if ('reason' in opening) assert.match(opening.reason, says!)
  })
}

test('only what the decision needs is asked for', () => {
  assert.is(needsEpochEnd(facts({})), true)
  assert.is(needsEpochEnd(facts({ position: 100 })), true, 'a log may have been cut and grown to the same length')
  assert.is(needsEpochEnd(facts({ position: 101 })), false, 'beyond the end')
  assert.is(needsEpochEnd(facts({ position: 0 })), false, 'nothing was read')
  assert.is(needsEpochEnd(facts({ topicId: other })), false, 'another topic')
  assert.is(needsEpochEnd(facts({ state: { leaderEpoch: -1 } })), false, 'unknown epoch')
  assert.is(needsEpochEnd(facts({ state: null })), false, 'unknown state')
  assert.is(needsDeleteRetention(facts({})), true)
  assert.is(needsDeleteRetention(facts({ position: 100 })), false, 'there is no tail')
  assert.is(needsDeleteRetention(facts({ state: { wallMs: -1 } })), false, 'unknown time')
})

test("a store's state is read as it was written; versions before and after it are told apart", () => {
  const state = { topicId: id, leaderEpoch: 12, wallMs: now }
  assert.equal(decodeStoreState(encodeStoreState(state)), state)
  assert.equal(decodeStoreState(encodeStoreState({ topicId: '', leaderEpoch: -1, wallMs: -1 })), {
    topicId: '',
    leaderEpoch: -1,
    wallMs: -1,
  })
  assert.equal(decodeStoreState(Buffer.from(`1;${id}`)), { topicId: id, leaderEpoch: -1, wallMs: -1 })
  for (const text of ['', '2', `2;${id}`, `2;${id};x;1`, `2;${id};1;1e99`, `3;${id};1;1`]) {
    assert.is(decodeStoreState(Buffer.from(text)), undefined, text)
  }
  assert.is(sameTopic(id, other), false)
  assert.is(sameTopic(id, '00000000-0000-0000-0000-000000000000'), true)
})

test.run()
