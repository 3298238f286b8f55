import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freezeProcessTree, killProcessTree, thawProcessTree } from './process-tree.ts'

/** A started server of @switchhook/embedded. */
export type StartedServer = {
  url: string
  port: number
  pid: number
  exited: Promise<void>
  stop(): Promise<void>
}

/** Starts the server on a data folder; without a port, on a free one. */
export type StartServer = (dataDir: string, port?: number) => Promise<StartedServer>

const END_TIMEOUT_MS = 60_000

/** Makes a temporary folder and starts a server in it; leaves no folder if that fails. */
export async function startInTemporaryFolder(
  start: StartServer,
): Promise<{ dataDir: string; server: StartedServer }> {
  const dataDir = await mkdtemp(join(tmpdir(), 'switchhook-own-'))
  try {
    return { dataDir, server: await start(dataDir) }
  } catch (error) {
    await rm(dataDir, { recursive: true, force: true })
    throw error
  }
}

/** A server for one fault test. Its URL and port stay the same over restarts. */
export class OwnServer {
  readonly #dataDir: string
  readonly #start: StartServer
  #server: StartedServer
  #runningPid: number | undefined

  constructor(start: StartServer, dataDir: string, server: StartedServer) {
    this.#start = start
    this.#dataDir = dataDir
    this.#server = server
    this.#watch(server)
  }

  get url(): string {
    return this.#server.url
  }

  get port(): number {
    return this.#server.port
  }

  /** Of the last start. */
  get pid(): number {
    return this.#server.pid
  }

  /** SIGKILL to the server and its children, frozen or not; resolves when they have ended. */
  async kill(): Promise<void> {
    if (this.#runningPid !== undefined) await killProcessTree(this.#runningPid)
    await this.ended()
  }

  /** Connections stay open and silent: SIGSTOP to the server and its children. */
  async freeze(): Promise<void> {
    await freezeProcessTree(this.pid)
  }

  async thaw(): Promise<void> {
    await thawProcessTree(this.pid)
  }

  /** Ends the server properly if it runs, and starts it on the same port and data. */
  async restart(): Promise<void> {
    await this.#end()
    this.#server = await this.#start(this.#dataDir, this.port)
    this.#watch(this.#server)
  }

  /** Ends the server, frozen or not, and removes its data. */
  async stop(): Promise<void> {
    await this.#end()
    await rm(this.#dataDir, { recursive: true, force: true })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  /** Throws if the server has not ended after a minute. */
  protected async ended(): Promise<void> {
    let timer: NodeJS.Timeout | undefined
    const tooLate = new Promise<never>((_resolve, reject) => {
      const error = new Error(`server ${this.pid} has not ended after ${END_TIMEOUT_MS} ms`)
      timer = setTimeout(() => reject(error), END_TIMEOUT_MS)
    })
    try {
      await Promise.race([this.#server.exited, tooLate])
    } finally {
      clearTimeout(timer)
    }
  }

  async #end(): Promise<void> {
    // A frozen server takes no signal but SIGKILL.
    if (this.#runningPid !== undefined) await thawProcessTree(this.#runningPid)
    await this.#server.stop()
  }

  #watch(server: StartedServer): void {
    this.#runningPid = server.pid
    void server.exited.then(() => {
      if (server === this.#server) this.#runningPid = undefined
    })
  }
}
