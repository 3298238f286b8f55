import { type Format, USER_AGENT } from './format.ts'

/** The provider's own bytes under its own content type: all events of one payload look alike. */
export const raw: Format = ({ event }) => ({
  contentType: event.contentType === '' ? 'application/octet-stream' : event.contentType,
  userAgent: USER_AGENT,
  body: event.payload,
})
