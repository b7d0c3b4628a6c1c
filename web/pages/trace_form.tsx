/**
 * The form of a new trace: what is logged, when, how much at most. What is wrong is said at its field, before and after the
 * server was asked; the form keeps what was typed until the trace is made.
 */

import type { ComponentChildren } from 'preact';
import { useRef, useState } from 'preact/hooks';
import { traceKinds } from '../../src/wire/trace.js';
import { messageOf, sendJson } from '../store/api.js';
import { servers } from '../store/fleet.js';
import { emptyForm, type FormErrors, fieldOf, readForm, type TraceForm } from '../store/trace_form.js';
import { Field, FieldSays, wrongOf } from '../ui/Field.js';

interface Props {
  readonly target: number;
  readonly onMade: (id: number, target: number) => void;
  readonly onCancel: () => void;
}

export function NewTrace({ target, onMade, onCancel }: Props) {
  const [form, setForm] = useState<TraceForm>({ ...emptyForm, targetId: target });
  const [errors, setErrors] = useState<FormErrors>({});
  const [refusal, setRefusal] = useState('');
  const [busy, setBusy] = useState(false);
  const element = useRef<HTMLFormElement>(null);
  const change = (more: Partial<TraceForm>): void => setForm((before) => ({ ...before, ...more }));

  const showFirst = (wrong: FormErrors): void => {
    setErrors(wrong);
    requestAnimationFrame(() => {
      const field = element.current?.querySelector<HTMLElement>('[aria-invalid=true]');
      field?.closest('details')?.setAttribute('open', '');
      field?.focus();
    });
  };
  // Where nobody watches, nobody could start a trace by itself or make room for it: a user is connected, or is not.
  const isWatched = (targetId: number): boolean =>
    servers.value.find((server) => server.targetId === targetId)?.managed !== false;
  const watched = isWatched(form.targetId);
  const choose = (targetId: number): void =>
    change(
      isWatched(targetId)
        ? { targetId }
        : { targetId, continuous: false, when: form.when === 'asked' ? 'asked' : 'now' },
    );
  const submit = async (): Promise<void> => {
    setRefusal('');
    const read = readForm(form, Date.now());
    if ('errors' in read) {
      showFirst(read.errors);
      return;
    }
    setErrors({});
    setBusy(true);
    try {
      const made = await sendJson<{ id: number }>('POST', '/traces', read.body);
      onMade(made?.id ?? 0, form.targetId);
    } catch (error) {
      const text = messageOf(error);
      const field = fieldOf(text);
      if (field === undefined) setRefusal(text);
      else showFirst({ [field]: text.replace(/^(?:body [\w.]+|schedule): /, '') });
    } finally {
      setBusy(false);
    }
  };

  const field = (name: keyof TraceForm, title: string, control: ComponentChildren, hint?: string) => (
    <Field name={name} title={title} wrong={errors[name]} hint={hint}>
      {control}
    </Field>
  );
  const told = (name: keyof TraceForm) => wrongOf(name, errors[name]);
  const text = (name: keyof TraceForm, title: string, hint?: string, more: Record<string, unknown> = {}) =>
    field(
      name,
      title,
      <input
        name={name}
        value={String(form[name])}
        onInput={(event) => change({ [name]: event.currentTarget.value })}
        {...told(name)}
        {...more}
      />,
      hint,
    );
  const amount = (name: keyof TraceForm, title: string, unit: string, hint?: string) =>
    field(
      name,
      title,
      <span class="amount">
        <input
          name={name}
          inputMode="decimal"
          value={String(form[name])}
          onInput={(event) => change({ [name]: event.currentTarget.value })}
          {...told(name)}
        />
        <span>{unit}</span>
      </span>,
      hint,
    );
  const tick = (name: keyof TraceForm, title: string, hint: string) => (
    <label class={errors[name] === undefined ? 'tick' : 'tick wrong'}>
      <input
        type="checkbox"
        name={name}
        checked={form[name] === true}
        onChange={(event) => change({ [name]: event.currentTarget.checked })}
        {...told(name)}
      />
      <span>
        {title} <FieldSays name={name} wrong={errors[name]} hint={hint} />
      </span>
    </label>
  );

  return (
    <form
      class="panel wide trace-form"
      ref={element}
      noValidate
      aria-label="New trace"
      onSubmit={(event) => {
        event.preventDefault();
        void submit();
      }}
    >
      <header>
        <h2>New trace</h2>
      </header>
      <div class="fields">
        {text('name', 'Name', undefined, { maxLength: 200, autoFocus: true })}
        {target === 0 &&
          field(
            'targetId',
            'Server',
            <select
              name="targetId"
              value={form.targetId}
              onChange={(event) => choose(Number(event.currentTarget.value))}
              {...told('targetId')}
            >
              <option value={0}>Choose…</option>
              {servers.value.map((server) => (
                <option key={server.targetId} value={server.targetId}>
                  {server.name}
                </option>
              ))}
            </select>,
          )}
      </div>
      <fieldset>
        <legend>Which statements</legend>
        <div class="fields">
          {text('databases', 'Databases', 'Separated by commas; empty: all')}
          {text('users', 'Users', 'Separated by commas; empty: all')}
          {text('applications', 'Applications', 'application_name; one with a comma in quotes; empty: all')}
          {text('clients', 'Client addresses', 'for example 10.0.0.7, or [local]; empty: all')}
          {amount('leastMs', 'Only from', 'ms', 'Execution time; empty: every statement')}
          {amount('samplePercent', 'Sample', '%', 'Of top-level statements, chosen at random')}
        </div>
        <fieldset class="ticks bare" aria-label="Kinds of commands">
          <span class="muted">Kinds (none ticked: all)</span>
          {traceKinds.map((kind) => (
            <label key={kind} class="tick">
              <input
                type="checkbox"
                checked={form.kinds.includes(kind)}
                onChange={(event) =>
                  change({
                    kinds: event.currentTarget.checked
                      ? [...form.kinds, kind]
                      : form.kinds.filter((it) => it !== kind),
                  })
                }
              />
              <span>{kind}</span>
            </label>
          ))}
        </fieldset>
        {tick('nested', 'Nested statements too', 'those inside functions, DO blocks and triggers')}
      </fieldset>
      <fieldset>
        <legend>When, and how much at most</legend>
        <div class="fields">
          {field(
            'when',
            'Start',
            <select
              name="when"
              value={form.when}
              onChange={(event) => change({ when: event.currentTarget.value as TraceForm['when'] })}
            >
              <option value="now">at once</option>
              <option value="asked">when I say so</option>
              {watched && (
                <>
                  <option value="once">once, at a time</option>
                  <option value="daily">every day</option>
                  <option value="cron">by cron</option>
                </>
              )}
            </select>,
            watched ? undefined : 'Schedules need an agent',
          )}
          {form.when === 'once' &&
            text('onceAt', 'At', 'By the clock of this browser', { type: 'datetime-local' })}
          {form.when === 'daily' && text('dailyAt', 'Every day at', undefined, { type: 'time' })}
          {form.when === 'cron' && text('cron', 'Cron', 'minute hour day month weekday, as 30 2 * * 1-5')}
          {(form.when === 'daily' || form.when === 'cron') && text('timezone', 'Time zone')}
          {amount(
            'minutes',
            'Each run takes',
            'min',
            watched ? 'Empty: until it is stopped' : 'Empty: an hour',
          )}
          {amount('totalMib', 'All files of a run, at most', 'MiB', 'On the traced server’s disk')}
          {amount('fileMib', 'One file, at most', 'MiB', 'Empty: as the server is set')}
        </div>
        {watched &&
          tick(
            'continuous',
            'Go on when the limit is reached',
            'files that PEM has read are removed to make room',
          )}
        {tick('keepFiles', 'Keep the files on the server', 'after the run is over and read')}
      </fieldset>
      <details>
        <summary>What is kept of each statement</summary>
        {tick(
          'events',
          'Every call, one by one',
          'for time line, calls and transactions; without it PEM keeps sums per statement alone',
        )}
        <div class="fields">
          {form.events &&
            amount('eventsPerS', 'Calls, at most', 'a second', 'What is beyond is in the sums alone')}
          {amount('queryKib', 'Statement text, at most', 'KiB', 'Empty: as the server is set')}
          {field(
            'plan',
            'Plans',
            <select
              name="plan"
              value={form.plan}
              onChange={(event) => change({ plan: event.currentTarget.value as TraceForm['plan'] })}
            >
              <option value="none">none</option>
              <option value="text">as text</option>
              <option value="json">as JSON</option>
            </select>,
          )}
          {form.plan !== 'none' && amount('planMs', 'Plans of statements from', 'ms')}
        </div>
        {tick('params', 'Parameters', 'they may hold personal data')}
        {tick('rusage', 'CPU time, page faults, context switches', 'costs two system calls a statement')}
        {tick('workers', 'Rows of parallel workers', 'already counted in their leader’s')}
      </details>
      {refusal !== '' && (
        <p class="error" role="alert">
          {refusal}
        </p>
      )}
      <p class="buttons">
        <button type="submit" class="main" disabled={busy}>
          {busy ? 'Making…' : form.when === 'now' ? 'Start trace' : 'Make trace'}
        </button>
        <button type="button" onClick={onCancel}>
          Cancel
        </button>
      </p>
    </form>
  );
}
