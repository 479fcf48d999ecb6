/**
 * Small texts that travel with positions: the state in a store's checkpoint and the metadata of an offset commit. Both
 * are versioned (`1;…`), both name the topic by its id, so that a position is not taken for one of another topic of the
 * same name.
 */

/** The state bytes of a store that follows the topic with this id. */
export function checkpointState(topicId: string): Buffer {
  return Buffer.from(`1;${topicId}`, 'latin1')
}

/** The topic id in a store's state; undefined if the state is of a form this version does not know. */
export function topicIdOf(state: Buffer): string | undefined {
  const [version, topicId] = state.toString('latin1').split(';')
  return version === '1' ? topicId : undefined
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
