import { findFreePort } from '@switchhook/embedded/free-port'

export type Ports = Readonly<
  Record<'ingress' | 'ingressOps' | 'workerOps' | 'receiver' | 'smtp' | 'inbox', number>
>

const PREFERRED: Ports = {
  ingress: 8080,
  ingressOps: 9464,
  workerOps: 9465,
  receiver: 8090,
  smtp: 1025,
  inbox: 8025,
}

/** A port somebody asked for by name is used or refused; for the rest any free one will do, last time's first. */
async function choose(
  asked: string | undefined,
  variable: string,
  preferred: number,
): Promise<number> {
  if (!asked) return findFreePort(preferred)
  const port = Number(asked)
  if (!Number.isInteger(port) || port < 1 || port > 65_535) {
    throw new Error(`${variable} must be a port from 1 to 65535, not "${asked}"`)
  }
  if ((await findFreePort(port)) !== port) {
    throw new Error(`port ${port} (${variable}) is in use; choose another: ${variable}=… npm start`)
  }
  return port
}

export async function choosePorts(
  env: Readonly<Record<string, string | undefined>>,
  lastTime: Readonly<Record<string, number>>,
): Promise<Ports> {
  const like = (name: keyof Ports): number => lastTime[name] ?? PREFERRED[name]
  // One after the other, so that no two are given the same free port.
  const ingress = await choose(env.INGRESS_PORT, 'INGRESS_PORT', like('ingress'))
  const ingressOps = await choose(env.OPS_PORT, 'OPS_PORT', like('ingressOps'))
  const taken = new Set([ingress, ingressOps])
  const next = async (preferred: number): Promise<number> => {
    let port = await findFreePort(taken.has(preferred) ? undefined : preferred)
    while (taken.has(port)) port = await findFreePort()
    taken.add(port)
    return port
  }
  return {
    ingress,
    ingressOps,
    workerOps: await next(env.OPS_PORT ? ingressOps + 1 : like('workerOps')),
    receiver: await next(like('receiver')),
    smtp: await next(like('smtp')),
    inbox: await next(like('inbox')),
  }
}
