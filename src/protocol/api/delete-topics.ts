/**
 * DeleteTopics (key 20). Deletes topics by name, from v6 also by id.
 */
import { array, defineApi, int16, int32, string, structs, uuid } from '../schema.ts'

/** Deletes topics; goes to any broker of a KRaft cluster, else to the controller. */
export const deleteTopics = defineApi({
  key: 20,
  name: 'DeleteTopics',
  versions: [1, 6],
  flexible: 4,
  request: {
    topics: structs(
      {
        name: string({ nullable: true, default: null }),
        topicId: uuid(),
      },
      { since: 6, alternative: true },
    ),
    topicNames: array(string(), { until: 5, alternative: true }),
    timeoutMs: int32(),
  },
  response: {
    throttleTimeMs: int32(),
    responses: structs({
      name: string({ nullable: 6 }),
      topicId: uuid({ since: 6 }),
      errorCode: int16(),
      errorMessage: string({ since: 5, nullable: true, default: null }),
    }),
  },
})
