/** ApiVersions: what the broker serves. Versions it does not know are answered by the dispatcher, in version 0. */
import { apiVersions } from '../../protocol/api/api-versions.ts'
import { errorCodes } from '../../protocol/errors.ts'
import { handle, objects } from '../dispatch.ts'

const softwarePattern = /^[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?$/

export const apiVersionsHandler = handle(
  apiVersions,
  { memory: objects, refuse: (_request, errorCode) => ({ errorCode, apiKeys: [] }) },
  (request, context) => {
    const named = context.apiVersion >= 3
    if (
      named &&
      !(softwarePattern.test(request.clientSoftwareName) && softwarePattern.test(request.clientSoftwareVersion))
    ) {
      return { errorCode: errorCodes.INVALID_REQUEST, apiKeys: [] }
    }
    return { errorCode: 0, apiKeys: context.services.apiKeys }
  },
)
