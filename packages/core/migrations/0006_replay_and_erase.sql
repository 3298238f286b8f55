-- Long work that a worker does in small steps: replays of many deliveries, and the erasure of one person. Each step
-- commits what it did together with how far it came, so that a killed worker repeats nothing and leaves nothing out.

-- Deliveries of a destination that are made again, oldest first. until is never later than created_at: a replay does
-- not come across its own deliveries. The walk uses deliveries_by_destination.
create table replays (
  id text primary key check (id like 'rpl\_%'),
  organization_id text not null references organizations (id),
  destination_id text not null references destinations (id),
  since timestamptz not null,
  until timestamptz not null,
  states text[] not null check (cardinality(states) > 0),
  rate_per_second double precision not null check (rate_per_second > 0),
  state text not null check (state in ('running', 'finished', 'cancelled', 'failed')),
  reason text,
  total integer not null, -- as counted when it was asked for; exact once it is finished
  done integer not null default 0,
  skipped integer not null default 0, -- their payload was no longer kept
  position_at timestamptz,
  position_id text,
  paced_at timestamptz not null, -- what the rate allows is counted from here
  requested_by text not null,
  created_at timestamptz not null,
  finished_at timestamptz
);
create index replays_by_organization on replays (organization_id, created_at desc, id desc);
-- Two at once would send the same deliveries twice.
create unique index replays_one_running on replays (destination_id) where state = 'running';

-- phone_number is null once it is over: what remains names nobody. No index of events by peer_number: payloads name a
-- person too, so every event of the organization is looked at anyway, and accepting one costs nothing more.
create table erasures (
  id text primary key check (id like 'era\_%'),
  organization_id text not null references organizations (id),
  phone_number text,
  state text not null check (state in ('running', 'finished', 'failed')),
  reason text,
  phase text not null check (phase in ('calls', 'events', 'quarantine', 'logs')),
  position_at timestamptz,
  position_id text,
  events_erased integer not null default 0,
  deliveries_cancelled integer not null default 0,
  attempts_erased integer not null default 0,
  calls_erased integer not null default 0,
  quarantined_deleted integer not null default 0,
  requested_by text not null,
  created_at timestamptz not null,
  finished_at timestamptz
);
create index erasures_by_organization on erasures (organization_id, created_at desc, id desc);
create unique index erasures_one_running on erasures (organization_id, phone_number) where state = 'running';

-- Set when the payload was taken out: the row stays, so that its copies are still known as duplicates.
alter table events add column erased_at timestamptz;
