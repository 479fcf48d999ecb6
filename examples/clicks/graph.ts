/** What the example computes: the number of clicks per user. */
import { defineGroup, stream } from 'millrace'
import { int64, string } from 'millrace/codec'

export const users = Array.from({ length: 10 }, (_, i) => `user-${i}`)

/** Key: the user. Value: what was clicked. */
export const clicks = stream('user-click', string)

/** Its table is the topic user-clicks-table; `ctx.get()` is a bigint because the table's codec says so. */
export const counter = defineGroup('user-clicks', { table: int64 }).on(clicks, (ctx) => ctx.set((ctx.get() ?? 0n) + 1n))
