/**
 * Where a store goes on: what its checkpoint says is held against what the topic is now. Pure: the registry asks Kafka and
 * the store, this decides. A store that cannot be brought up to date is built anew, unless it has more than the topic
 * does: then it may be the only copy left, and only its user can say what is right.
 */
import { type StoreState, sameTopic } from './store-state.ts'

/** What is known when a store is opened. */
export interface OpeningFacts {
  /** What the store has; undefined: it has no checkpoint. `state` undefined: of a form this version does not know. */
  readonly checkpoint: { readonly position: number; readonly state: StoreState | undefined } | undefined
  /** Whether the store has any entry. */
  readonly hasEntries: boolean
  readonly topicId: string
  /** First offset of the log. */
  readonly earliest: number
  /** The log's end. */
  readonly end: number
  /** Where the checkpoint's leader epoch ends in the log (−1: it has no such epoch); undefined: not asked. */
  readonly epochEnd: number | undefined
  /** The topic's `delete.retention.ms`; undefined: not asked. */
  readonly deleteRetentionMs: number | undefined
  /** The wall clock, milliseconds. */
  readonly nowMs: number
}

export type Opening =
  /** Reading the log from there brings the store up to date. */
  | { readonly kind: 'resume'; readonly from: number }
  /** There is nothing worth keeping: it is filled from the beginning of the log. */
  | { readonly kind: 'fill'; readonly from: number }
  /** What the store has cannot be brought up to date; the log has everything. */
  | { readonly kind: 'rebuild'; readonly from: number; readonly reason: string }
  /** The store has more than the log. */
  | { readonly kind: 'diverged'; readonly reason: string }

/** Whether the end of the checkpoint's leader epoch must be known. */
export function needsEpochEnd({ checkpoint, topicId, end }: OpeningFacts): boolean {
  if (checkpoint?.state === undefined || checkpoint.position > end || checkpoint.position === 0) return false
  return checkpoint.state.leaderEpoch >= 0 && sameTopic(checkpoint.state.topicId, topicId)
}

/** Whether the topic's `delete.retention.ms` must be known: there is a tail, and deletions may be missing in it. */
export function needsDeleteRetention({ checkpoint, end }: OpeningFacts): boolean {
  return checkpoint?.state !== undefined && checkpoint.position < end && checkpoint.state.wallMs >= 0
}

/** What to do with the store. */
export function decideOpening(facts: OpeningFacts): Opening {
  const { checkpoint, hasEntries, earliest, end } = facts
  // Without a checkpoint the entries are of a load that was broken off before its first.
  if (checkpoint === undefined) return { kind: 'fill', from: earliest }
  const reason = whyNot(facts)
  if (reason === undefined) return { kind: 'resume', from: checkpoint.position }
  if (!hasEntries) return { kind: 'fill', from: earliest }
  const shorter = end < checkpoint.position
  const empty = earliest >= end
  return shorter || empty ? { kind: 'diverged', reason } : { kind: 'rebuild', from: earliest, reason }
}

/** Why the store cannot go on from its position; undefined: it can. */
function whyNot(facts: OpeningFacts): string | undefined {
  const { checkpoint, topicId, earliest, end, epochEnd, deleteRetentionMs, nowMs } = facts
  if (checkpoint === undefined) return undefined
  const { position, state } = checkpoint
  if (state === undefined) return 'its checkpoint was written by another version of millrace'
  if (!sameTopic(state.topicId, topicId)) return 'the topic was deleted and made anew'
  if (position > end) return 'the topic has lost its end'
  if (epochEnd !== undefined && (epochEnd < 0 ? end > earliest : epochEnd < position)) {
    const where = epochEnd < 0 ? 'the topic does not have it' : `it ends at ${epochEnd} there`
    return `the topic has lost records and got others: leader epoch ${state.leaderEpoch} of the last record here: ${where}`
  }
  if (position === end) return undefined
  if (position < earliest) return `the topic begins at ${earliest}: it has lost what came after ${position}`
  if (deleteRetentionMs !== undefined && state.wallMs >= 0) {
    const ageMs = Math.abs(nowMs - state.wallMs)
    if (ageMs > deleteRetentionMs) {
      const hours = (ms: number): string => (ms >= 3_600_000 ? `${Math.round(ms / 3_600_000)} h` : `${ms} ms`)
      return (
        `it was up to date ${hours(ageMs)} ago, and the topic forgets deletions after ${hours(deleteRetentionMs)} ` +
        '(delete.retention.ms)'
      )
    }
  }
  return undefined
}
