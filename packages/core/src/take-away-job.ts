/** Of BullMQ's queue, what this needs. */
type Jobs<Data> = {
  remove(id: string): Promise<number>
  getJob(
    id: string,
  ): Promise<{ readonly data: Data; updateData(data: Data): Promise<void> } | undefined>
}

/**
 * Takes a job out of its queue. One that a worker has in hand is changed by `mark` instead, for its next run; one that
 * ends meanwhile, which BullMQ calls a missing key, is gone as it should be.
 */
export async function takeAwayJob<Data>(
  queue: Jobs<Data>,
  id: string,
  mark: (data: Data) => Data,
): Promise<void> {
  if ((await queue.remove(id)) === 1) return
  const job = await queue.getJob(id)
  if (job === undefined) return
  try {
    await job.updateData(mark(job.data))
  } catch (error) {
    if ((await queue.getJob(id)) !== undefined) throw error
  }
}
