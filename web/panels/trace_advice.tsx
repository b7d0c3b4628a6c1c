/**
 * Index advice: asked of the agent for the most expensive statements of a run, the ticked ones, or the one whose page it is;
 * shown as what it is, an estimate of the planner with hypothetical indexes. Earlier advice stays within reach.
 */
import { useEffect, useState } from 'preact/hooks';
import type { AdvisedIndex, DatabaseAdvice } from '../../src/wire/advice.js';
import { mayManage, spanQuery, type Trace, useAsk } from '../store/trace.js';
import {
  type Advice,
  type AskedStatement,
  askForAdvice,
  choose,
  chosen,
  chosenOf,
  earlierWords,
  failureWords,
  formatCost,
  gainPercent,
  grantsIn,
  hasAgent,
  isPending,
  type Outcome,
  outcomesOf,
  stateWords,
  wholeOf,
} from '../store/trace_advice.js';
import { traceLink } from '../store/trace_route.js';
import { DataTable, type TableColumn } from '../ui/DataTable.js';
import { formatMs, formatTime, formatValue } from '../ui/format.js';
import { Panel } from '../ui/Panel.js';
import { CopyButton } from './trace_call.js';

const amounts = [10, 25, 50, 100, 200] as const;

/** A tick in the table of statements. */
export function ChooseStatement({ of, id, text }: { of: string; id: string; text: string }) {
  return (
    <input
      type="checkbox"
      aria-label={`Choose for index advice: ${text.slice(0, 80)}`}
      checked={chosenOf(of).has(id)}
      onChange={(event) => choose(of, id, event.currentTarget.checked)}
    />
  );
}

/** Beside a table of statements: the way to the panel below it. */
export function ToAdvice({ of }: { of: string }) {
  const count = chosenOf(of).size;
  return (
    <button
      type="button"
      class="push"
      onClick={() => {
        const panel = document.querySelector<HTMLElement>('section[aria-label="Index advice"]');
        panel?.scrollIntoView({ block: 'start' });
        panel?.querySelector<HTMLElement>('select, button')?.focus();
      }}
    >
      Index advice{count === 0 ? '' : ` for ${count} chosen`} ↓
    </button>
  );
}

function Statement({ statement }: { statement: AskedStatement }) {
  const { key, text } = statement;
  return key === null ? (
    <code>{text}</code>
  ) : (
    <a href={traceLink({ view: 'statement' }, { key })} title={text}>
      <code>{text}</code>
    </a>
  );
}

function Command({ where, text }: { where: string; text: string }) {
  return (
    <div class="command">
      <span class="muted">{where}</span>
      <pre>{text}</pre>
      <CopyButton text={text} />
    </div>
  );
}

interface Gain {
  readonly statement: AskedStatement;
  readonly costBefore: number;
  readonly costAfter: number;
}

const costColumns = <Row extends Gain>(): readonly TableColumn<Row>[] => [
  {
    title: 'Cost now',
    value: (row) => row.costBefore,
    cell: (row) => formatCost(row.costBefore),
    numeric: true,
  },
  {
    title: 'Then',
    value: (row) => row.costAfter,
    cell: (row) => formatCost(row.costAfter),
    numeric: true,
  },
  {
    title: 'Gain',
    value: (row) => gainPercent(row.costBefore, row.costAfter),
    cell: (row) => formatValue(gainPercent(row.costBefore, row.costAfter), 'percent'),
    numeric: true,
  },
];

const gainColumns: readonly TableColumn<Gain>[] = [
  {
    title: 'Statement',
    value: ({ statement }) => statement.text,
    cell: (row) => <Statement statement={row.statement} />,
  },
  ...costColumns<Gain>(),
  {
    title: 'Calls',
    value: ({ statement }) => statement.calls,
    cell: ({ statement }) => formatValue(statement.calls, ''),
    numeric: true,
    minor: true,
  },
  {
    title: 'Time now',
    value: ({ statement }) => statement.execUs,
    cell: ({ statement }) => formatValue(statement.execUs, 'us'),
    numeric: true,
    minor: true,
  },
];

function IndexCard(props: {
  index: AdvisedIndex;
  number: number;
  statements: ReadonlyMap<string, AskedStatement>;
  /** What the gain is a part of. */
  whole: string;
}) {
  const { index, number, statements, whole } = props;
  const lines = (index.create ?? []).join('\n');
  const gains = (index.statements ?? []).flatMap(({ id, costBefore, costAfter }) => {
    const statement = statements.get(id);
    return statement === undefined ? [] : [{ statement, costBefore, costAfter }];
  });
  return (
    <section class="call" aria-label={`Index ${number}: ${index.name}`}>
      <header>
        <h4>
          {number}. <code>{index.table}</code> ({index.columns.join(', ')})
        </h4>
        <CopyButton text={lines} />
      </header>
      <pre class="sql">{lines}</pre>
      <dl class="figures">
        <div title="What all advised indexes with this one save beyond those before it, if time falls as costs do">
          <dt>Gain, of {whole}</dt>
          <dd>{formatValue(100 * index.gain, 'percent')}</dd>
        </div>
        <div title="hypopg’s estimate">
          <dt>Size, about</dt>
          <dd>{index.sizeBytes > 0 ? formatValue(index.sizeBytes, 'bytes') : 'unknown'}</dd>
        </div>
        <div>
          <dt>Indexes there now</dt>
          <dd>{index.tableIndexes}</dd>
        </div>
      </dl>
      <DataTable
        label={`Statements that index ${number} helps`}
        rows={gains}
        columns={gainColumns}
        keyOf={(row) => row.statement.id}
        sortBy={3}
        descending
        pageSize={10}
        empty="Its list of statements was cut so that the answer could travel."
      />
      {(index.overlaps ?? [])
        .filter(({ how }) => how !== 'redundant')
        .map(({ index: name, how, definition }) => (
          <p key={name} class="muted">
            {how === 'prefix' ? 'Begins like' : 'Has the columns of'} {name}: <code>{definition}</code>
          </p>
        ))}
      {(index.warnings ?? []).map((warning) => (
        <p key={warning} class="warn">
          ▲ {warning}
        </p>
      ))}
    </section>
  );
}

const outcomeColumns: readonly TableColumn<Outcome>[] = [
  {
    title: 'Statement',
    value: ({ statement }) => statement.text,
    cell: (row) => <Statement statement={row.statement} />,
  },
  ...costColumns<Outcome>(),
  {
    title: 'Uses now',
    value: ({ uses }) => uses.join(', '),
    cell: ({ uses }) => (uses.length === 0 ? <span class="muted">no index</span> : uses.join(', ')),
    minor: true,
  },
  { title: 'How it was planned', value: ({ notes }) => notes.join(', '), minor: true },
];

const skippedColumns: readonly TableColumn<Outcome>[] = [
  {
    title: 'Statement',
    value: ({ statement }) => statement.text,
    cell: (row) => <Statement statement={row.statement} />,
  },
  {
    title: 'Why it could not be planned',
    value: ({ skipped }) => skipped?.reason ?? '',
    cell: ({ skipped }) => <span class="reason">{skipped?.reason}</span>,
  },
  {
    title: 'Time now',
    value: ({ statement }) => statement.execUs,
    cell: ({ statement }) => formatValue(statement.execUs, 'us'),
    numeric: true,
    minor: true,
  },
];

function DatabaseResult(props: { advice: Advice; within: DatabaseAdvice; only: string | undefined }) {
  const { advice, within, only } = props;
  const statements = new Map(
    advice.statements.filter(({ database }) => database === within.database).map((it) => [it.id, it]),
  );
  const outcomes = outcomesOf(advice).filter(({ database }) => database === within.database);
  const planned = outcomes.filter(({ skipped }) => skipped === undefined);
  const skipped = outcomes.filter((outcome) => outcome.skipped !== undefined);
  const own = only === undefined ? undefined : outcomes.find(({ statement }) => statement.key === only);
  const indexes = within.indexes ?? [];
  const used = [...new Set(planned.flatMap(({ uses }) => uses))];
  const grants = [...new Set(skipped.flatMap((outcome) => grantsIn(outcome.skipped?.reason ?? '')))];
  return (
    <section aria-label={`Advice for database ${within.database}`}>
      <h3>
        Database {within.database}
        <span class="note">
          {' '}
          {planned.length} planned, {skipped.length} not · asked the planner {within.plans} × in{' '}
          {formatMs(within.elapsedMs)} · hypopg {within.hypopg}
          {within.complete ? '' : ' · time was over before all was tried'}
        </span>
      </h3>
      {own !== undefined && own.skipped === undefined && indexes.length > 0 && (
        <p>
          This statement: cost {formatCost(own.costBefore)} now, {formatCost(own.costAfter)} with the indexes
          below{own.indexes.length === 0 ? '; none of them helps it' : ''}.
        </p>
      )}
      {own?.skipped !== undefined && (
        <p class="warn">▲ This statement could not be planned: {own.skipped.reason}</p>
      )}
      {indexes.length === 0 && planned.length > 0 && (
        <p>
          No index helps: none would save 1 % or more of {wholeOf(advice)} by the planner’s estimate.
          {own !== undefined && own.skipped === undefined && ` Its cost is ${formatCost(own.costBefore)}.`}
          {used.length > 0 && ` In use already: ${used.slice(0, 12).join(', ')}.`}
        </p>
      )}
      {indexes.map((index, i) => (
        <IndexCard
          key={index.name}
          index={index}
          number={i + 1}
          statements={statements}
          whole={wholeOf(advice)}
        />
      ))}
      {planned.length > 0 && (
        <details>
          <summary>Statements that were planned ({planned.length})</summary>
          <DataTable
            label={`Planned statements of ${within.database}`}
            rows={planned}
            columns={outcomeColumns}
            keyOf={({ statement }) => statement.id}
            sortBy={1}
            descending
            pageSize={10}
            empty=""
          />
        </details>
      )}
      {skipped.length > (own?.skipped === undefined ? 0 : 1) && (
        <details open={planned.length === 0}>
          <summary>Statements that could not be planned ({skipped.length})</summary>
          <DataTable
            label={`Statements of ${within.database} without a plan`}
            rows={skipped}
            columns={skippedColumns}
            keyOf={({ statement }) => statement.id}
            sortBy={2}
            descending
            pageSize={10}
            empty=""
          />
        </details>
      )}
      {grants.length > 0 && (
        <Command where={`What would permit it, in database ${within.database}`} text={grants.join('\n')} />
      )}
      {(within.notes ?? []).map((note) => (
        <p key={note} class="muted note">
          {note}
        </p>
      ))}
    </section>
  );
}

function Result({ advice, only }: { advice: Advice; only: string | undefined }) {
  return (
    <>
      {(advice.databases ?? []).length > 0 && (
        <p class="estimate">
          <strong>Estimate.</strong> The planner was asked with hypothetical indexes. Nothing was created on
          the server, no statement was run, nothing was measured. Costs are the planner’s units.
        </p>
      )}
      {(advice.failures ?? []).map((failure) => {
        const words = failureWords(failure);
        return (
          <section key={failure.database} class="call" aria-label={words.title}>
            <h4 class="warn">▲ {words.title}</h4>
            <p>{words.reason}</p>
            {words.commands.map((command) => (
              <Command key={command.text} {...command} />
            ))}
          </section>
        );
      })}
      {(advice.databases ?? []).map((within) => (
        <DatabaseResult key={within.database} advice={advice} within={within} only={only} />
      ))}
      {(advice.databases ?? []).length === 0 && (advice.failures ?? []).length === 0 && (
        <p class="empty">The agent answered about no database.</p>
      )}
    </>
  );
}

/** Seconds since it was asked for; not for screen readers, which hear of changes alone. */
function Waiting({ sinceUs }: { sinceUs: number }) {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, []);
  return (
    <div class="loadbar" aria-hidden="true">
      <progress />
      <span>{formatMs(Math.max(0, Math.round((now - sinceUs / 1000) / 1000)) * 1000)}</span>
    </div>
  );
}

function Earlier(props: { advice: Advice; shown: number; onShow: (id: number) => void }) {
  const { advice, shown, onShow } = props;
  const { earlier } = advice;
  if (earlier.length < 2) return null;
  return (
    <details class="earlier">
      <summary>Earlier advice ({earlier.length - 1})</summary>
      <ul>
        {earlier.map((one) => (
          <li key={one.id}>
            <button
              type="button"
              {...(one.id === shown ? { 'aria-current': 'true' as const } : {})}
              onClick={() => onShow(one.id)}
            >
              {formatTime(one.requestedAtUs / 1000)}
            </button>{' '}
            {earlierWords(one)}
          </li>
        ))}
      </ul>
    </details>
  );
}

/** @param only key of the statement whose page it is; else it is about the run's statements */
export function TraceAdvice({ trace, run, only }: { trace: Trace; run: string; only?: string | undefined }) {
  const [shown, setShown] = useState<number | undefined>(undefined);
  const [amount, setAmount] = useState('50');
  const [refused, setRefused] = useState('');
  const [pending, setPending] = useState(false);
  const [sending, setSending] = useState(false);
  const path = `/traces/${trace.id}/advice`;
  const asked = useAsk<Advice>(`${path}${spanQuery({}, { id: shown, key: only })}`, pending ? 1000 : 0);
  const advice = asked.value;
  const isWaiting = advice !== undefined && isPending(advice.state);
  useEffect(() => setPending(isWaiting), [isWaiting]);
  const of = `${trace.id}/${run}`;
  const keys = [...(chosen.value.of === of ? chosen.value.keys : [])];
  // What was ticked is what is meant, until something else is said.
  const offered = keys.length > 0 && amount === '50' ? 'chosen' : amount;
  const wanted = offered === 'chosen' && keys.length === 0 ? '50' : offered;

  const start = async (): Promise<void> => {
    setSending(true);
    const what =
      only !== undefined ? { keys: [only] } : wanted === 'chosen' ? { keys } : { statements: Number(wanted) };
    const why = await askForAdvice(trace.id, { run, ...what }, only);
    setSending(false);
    setRefused(why ?? '');
    if (why !== undefined) return;
    setShown(undefined);
    asked.again();
  };

  const words = refused !== '' || advice === undefined ? '' : stateWords(advice, trace);
  const noAgent = !hasAgent(trace);
  return (
    <Panel
      title="Index advice"
      wide
      note="an estimate of the planner; nothing is created on the server"
      error={asked.error !== undefined && asked.status !== 404 ? asked.error : undefined}
    >
      <div class="tools">
        {mayManage() ? (
          <>
            {only === undefined && (
              <label>
                For{' '}
                <select
                  value={wanted}
                  aria-label="Which statements"
                  onChange={(event) => setAmount(event.currentTarget.value)}
                >
                  {keys.length > 0 && (
                    <option value="chosen">
                      {keys.length === 1 ? 'the chosen statement' : `the ${keys.length} chosen statements`}
                    </option>
                  )}
                  {amounts.map((count) => (
                    <option key={count} value={String(count)}>
                      the {count} most expensive statements
                    </option>
                  ))}
                </select>
              </label>
            )}
            <button
              type="button"
              class="main"
              disabled={noAgent || isWaiting || sending}
              onClick={() => void start()}
            >
              {only === undefined ? 'Advise indexes' : 'Advise indexes for this statement'}
            </button>
          </>
        ) : (
          <span class="muted">Asking for advice needs the role pem_admin.</span>
        )}
      </div>
      {noAgent && (
        <p class="warn">
          ▲ No agent watches this server, so nobody can be asked. From a shell:{' '}
          <code>pem trace advise --db …</code>
        </p>
      )}
      {refused !== '' && (
        <p class="error" role="alert">
          {refused}
        </p>
      )}
      <p
        class={advice?.state === 'failed' || advice?.state === 'overdue' ? 'warn state' : 'muted state'}
        aria-live="polite"
      >
        {words}
        {advice === undefined && asked.status === 404 && refused === '' && 'Nobody has asked yet.'}
      </p>
      {isWaiting && <Waiting sinceUs={advice.requestedAtUs} />}
      {advice !== undefined && (
        <>
          <p class="muted state">
            Asked {formatTime(advice.requestedAtUs / 1000)} by {advice.requestedBy}
            {advice.doneAtUs !== null && `, answered ${formatTime(advice.doneAtUs / 1000)}`}
            {advice.run !== null && advice.run !== run && ' · about another run of this trace'}
          </p>
          {advice.state === 'done' && <Result advice={advice} only={only} />}
          <Earlier advice={advice} shown={advice.id} onShow={setShown} />
        </>
      )}
    </Panel>
  );
}
