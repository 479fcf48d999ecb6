/**
 * Small texts that travel with positions: the state in a store's checkpoint and the metadata of an offset commit. Both
 * are versioned, both name the topic by its id, so that a position is not taken for one of another topic of the same
 * name.
 */

/** What a store knows of the topic it follows, beside its position. */
export interface StoreState {
  /** 32 hex digits; '' or zeros: the broker has no ids. */
  readonly topicId: string
  /** Leader epoch of the last record that the store has; −1 unknown. */
  readonly leaderEpoch: number
  /**
   * A moment at which the store had everything its topic held, or at which its first restore began. Milliseconds since
   * 1970 by this machine's clock; −1 unknown. Deletions older than the topic's `delete.retention.ms` may be gone from it.
   */
  readonly wallMs: number
}

/** The bytes of a store's state. */
export function encodeStoreState({ topicId, leaderEpoch, wallMs }: StoreState): Buffer {
  return Buffer.from(`2;${topicId};${leaderEpoch};${wallMs}`, 'latin1')
}

/** Undefined if the state is of a form this version does not know. Version 1 had the topic id only. */
export function decodeStoreState(state: Buffer): StoreState | undefined {
  const [version, topicId, epoch, wall] = state.toString('latin1').split(';')
  if (topicId === undefined) return undefined
  if (version === '1') return { topicId, leaderEpoch: -1, wallMs: -1 }
  if (version !== '2') return undefined
  const leaderEpoch = Number(epoch)
  const wallMs = Number(wall)
  if (!Number.isSafeInteger(leaderEpoch) || !Number.isSafeInteger(wallMs)) return undefined
  return { topicId, leaderEpoch, wallMs }
}

const unknownId = /^0*$/

/** Whether a position in a topic with the id `a` may be one in a topic with the id `b`; an unknown id fits any. */
export function sameTopic(a: string, b: string): boolean {
  return a === b || unknownId.test(a.replaceAll('-', '')) || unknownId.test(b.replaceAll('-', ''))
}

/** What a commit of an input says beside the offset. */
export interface CommitNote {
  readonly topicId: string
  /** The largest record timestamp processed, milliseconds; −1 none. */
  readonly streamTime: number
}

export function encodeCommitNote(note: CommitNote): string {
  return `1;${note.topicId};${note.streamTime}`
}

/** Undefined for commits of other programs, or of versions this one does not know. */
export function decodeCommitNote(metadata: string): CommitNote | undefined {
  const [version, topicId, streamTime] = metadata.split(';')
  if (version !== '1' || topicId === undefined || streamTime === undefined) return undefined
  return { topicId, streamTime: Number(streamTime) }
}
