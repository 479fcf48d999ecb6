/** The group part of the client room: what consumers, streams and the client's door take from here. */
export type { Assignor, AssignorMember, MemberAssignment } from './assignors/assignor.ts'
export { copartition } from './assignors/copartition.ts'
export { range } from './assignors/range.ts'
export { ClassicMembership } from './classic.ts'
export { GroupOffsets } from './commit.ts'
export { fatalGroupErrors, GroupError } from './errors.ts'
export type { GroupEvent } from './events.ts'
export type {
  CommitResult,
  CommittedOffset,
  CommittedOptions,
  GroupListener,
  GroupMembership,
  GroupMetadata,
  MembershipState,
  OffsetToCommit,
} from './membership.ts'
export type { AssignorChoice, GroupOptions } from './options.ts'
