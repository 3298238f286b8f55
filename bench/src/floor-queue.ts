/** The queue of the floors: a bare BullMQ queue beside the product's own, in the same Redis. */
export const FLOOR_QUEUE = 'floor'
export const FLOOR_PREFIX = '{switchhook-floor}'
