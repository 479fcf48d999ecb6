/** What an application tells about its tables on this machine. Nothing depends on being heard. */

interface OfTable {
  /** The group whose table it is; undefined: a copy that joins, lookups and views read. */
  readonly group: string | undefined
  readonly topic: string
  readonly partition: number
}

/** One event about a local table, told apart by `type`. */
export type TableEvent =
  /** What is here cannot be brought up to date, and is built anew from the topic. */
  | ({ readonly type: 'tableRebuild'; readonly reason: string } & OfTable)
  /** A table is up to date. */
  | ({
      readonly type: 'tableRestored'
      /** Records read from its topic. */
      readonly records: number
      /** Where reading began: the position the table had got to, or the topic's beginning. */
      readonly fromOffset: number
      /** The offset behind the last one read. */
      readonly toOffset: number
      /** Entries that were here and stayed, about. */
      readonly localEntries: number
      /** Why what was here was built anew; undefined: it was not. */
      readonly rebuilt: string | undefined
    } & OfTable)
  /** The table that was built anew is complete, but the old one could not be removed; it is tried again at the next start. */
  | ({ readonly type: 'tableAsideKept'; readonly error: unknown } & OfTable)
