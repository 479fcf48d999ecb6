/**
 * ApiVersions (key 18). Which APIs and versions a broker speaks, and the features of the cluster; the first request on
 * a connection. Its response header is version 0 whatever the version of the body, and a broker that does not know the
 * version of the request answers with a version 0 body and UNSUPPORTED_VERSION (frame.ts). v3: client software,
 * features (KIP-511, KIP-584); v4: features of minimum version 0 are reported.
 */
import { bool, defineApi, int16, int32, int64, string, structs } from '../schema.ts'

/** Asks any broker what it speaks. */
export const apiVersions = defineApi({
  key: 18,
  name: 'ApiVersions',
  versions: [0, 4],
  flexible: 3,
  request: {
    clientSoftwareName: string({ since: 3, ignorable: true }),
    clientSoftwareVersion: string({ since: 3, ignorable: true }),
  },
  response: {
    errorCode: int16(),
    apiKeys: structs({
      apiKey: int16(),
      minVersion: int16(),
      maxVersion: int16(),
    }),
    throttleTimeMs: int32({ since: 1 }),
    supportedFeatures: structs(
      {
        name: string(),
        minVersion: int16(),
        maxVersion: int16(),
      },
      { since: 3, tag: 0 },
    ),
    finalizedFeaturesEpoch: int64({ since: 3, default: -1, tag: 1 }),
    finalizedFeatures: structs(
      {
        name: string(),
        maxVersionLevel: int16(),
        minVersionLevel: int16(),
      },
      { since: 3, tag: 2 },
    ),
    zkMigrationReady: bool({ since: 3, default: false, tag: 3 }),
  },
})
