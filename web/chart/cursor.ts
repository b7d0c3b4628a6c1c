/**
 * One cursor for all charts of a page: the moment (s since 1970) the pointer or the arrow keys are on. uPlot's own sync
 * moves the lines; this signal is for what stands outside the plots (legends, screen readers).
 */
import { signal } from '@preact/signals';

export const cursorTime = signal<number | undefined>(undefined);
export const syncKey = 'pem';
